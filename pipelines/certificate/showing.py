"""What the warehouse shows of given keys: the last hop of a window, read by primary key.

Input: states that the lake has published. Output: the states of the same keys as readers see them.
Costs what the window costs, however large the table is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import psycopg
from psycopg import sql

from pipelines import publish
from pipelines.certificate import canonical, tallying
from pipelines.certificate.drilling import Change
from pipelines.certificate.sums import Sum
from schemas.contract import Column, Contract

KEYS_A_QUERY = 10_000
_OF_TEXT = {
    # The canonical text counts from 1970.
    "date": "date '1970-01-01' + {}::integer",
    "timestamp": "timestamptz 'epoch' + {}::bigint * interval '1 microsecond'",
}
_TYPES = {"uuid": "uuid", "long": "bigint", "integer": "integer", "boolean": "boolean"}


def states(connection: psycopg.Connection, contract: Contract, keys: Iterable[str]) -> list[Change]:
    """The published states of these keys, in the shape of hops.evidence's `shown`."""
    if not _exists(connection, contract):
        return []
    found: list[Change] = []
    wanted = iter(sorted(set(keys)))
    query = _query(contract)
    while some := list(islice(wanted, KEYS_A_QUERY)):
        columns = [list(column) for column in zip(*_parts(some), strict=True)]
        for key, lsn, op, digest, order in connection.execute(query, columns):
            found.append(Change(key, lsn, op, int(digest), order))
    return found


def sums(connection: psycopg.Connection, contract: Contract) -> dict[int, Sum]:
    """Count and digest of everything published, per key bucket."""
    if not _exists(connection, contract):
        return {}
    bucket = canonical.bucket_postgres(canonical.key_text_postgres(contract))
    query = sql.SQL("select {}, count(*), sum({}) from {} as t group by 1").format(
        sql.SQL(bucket), sql.SQL(canonical.digest_postgres(_text(contract))), _table(contract)
    )
    return {b: Sum(rows, int(digest)) for b, rows, digest in connection.execute(query)}


def sums_after(
    connection: psycopg.Connection, contract: Contract, batch: int
) -> dict[str, dict[int, Sum]]:
    """`shown` and `shown_places` of a window as tallying.tallied has them, from what is shown."""
    if not _exists(connection, contract):
        return {}
    digest = canonical.digest_postgres(_text(contract))
    query = sql.SQL(
        "select bucket, count(*), sum(digest), sum({}) from (select {} as bucket, {} as digest,"
        " t._lsn as lsn, t._commit_lsn as commit_lsn from {} as t where t._batch_id > %s) as w"
        " group by bucket"
    ).format(
        sql.SQL(tallying.placed("digest", "lsn", "commit_lsn").replace("%", "%%")),
        sql.SQL(_window_bucket(contract)),
        sql.SQL(digest),
        _table(contract),
    )
    found: dict[str, dict[int, Sum]] = {"shown": {}, "shown_places": {}}
    for bucket, rows, digests, places in connection.execute(query, (batch,)):
        found["shown"][bucket] = Sum(rows, int(digests))
        found["shown_places"][bucket] = Sum(rows, int(places))
    return found


def of_window(
    connection: psycopg.Connection,
    contract: Contract,
    batch: int,
    buckets: Sequence[int],
    keys: Iterable[str],
) -> list[Change]:
    """The published states of these keys, and those of the window in these buckets."""
    found = states(connection, contract, keys)
    if _exists(connection, contract):
        query = sql.SQL("select {} from {} as t where t._batch_id > %s and {} = any(%s)").format(
            _change(contract), _table(contract), sql.SQL(_window_bucket(contract))
        )
        for key, lsn, op, digest, order in connection.execute(query, (batch, list(buckets))):
            found.append(Change(key, lsn, op, int(digest), order))
    return list(set(found))


def every(connection: psycopg.Connection, contract: Contract) -> Iterator[Change]:
    """Every published state."""
    if _exists(connection, contract):
        query = sql.SQL("select {} from {} as t").format(_change(contract), _table(contract))
        for key, lsn, op, digest, order in connection.execute(query):
            yield Change(key, lsn, op, int(digest), order)


def _window_bucket(contract: Contract) -> str:
    key = canonical.key_text_postgres(contract)
    return canonical.bucket_postgres(key, canonical.WINDOW_BUCKETS).replace("%", "%%")


def _query(contract: Contract) -> sql.Composed:
    placeholders = sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in contract.key)
    marks = [sql.Identifier(f"k{n}") for n in range(len(contract.key))]
    equal = [
        sql.SQL("t.{} = {}").format(sql.Identifier(name), _typed(contract.column(name), mark))
        for name, mark in zip(contract.key, marks, strict=True)
    ]
    return sql.SQL("select {} from unnest({}) as k ({}) join {} as t on {}").format(
        _change(contract),
        placeholders,
        sql.SQL(", ").join(marks),
        _table(contract),
        sql.SQL(" and ").join(equal),
    )


def _change(contract: Contract) -> sql.Composed:
    return sql.SQL("{}, t._lsn, t._op, {}, t._commit_lsn").format(
        sql.SQL(canonical.key_text_postgres(contract)),
        sql.SQL(canonical.digest_postgres(_text(contract))),
    )


def _text(contract: Contract) -> str:
    names = [column.name for column in publish.published(contract)]
    return f"({canonical.row_text_postgres(contract, names)} || t._is_deleted::text)"


def _table(contract: Contract) -> sql.Identifier:
    return sql.Identifier(publish.SCHEMA, contract.entity)


def _exists(connection: psycopg.Connection, contract: Contract) -> bool:
    name = f"{publish.SCHEMA}.{contract.entity}"
    found = connection.execute("select to_regclass(%s) is not null", (name,)).fetchone()
    return bool(found and found[0])


def _typed(column: Column, mark: sql.Identifier) -> sql.Composed:
    cast = _OF_TEXT.get(column.type) or f"{{}}::{_TYPES.get(column.type, 'text')}"
    return sql.SQL(cast).format(mark)


def _parts(keys: Iterable[str]) -> Iterator[list[str]]:
    for key in keys:
        yield key.split(canonical.SEPARATOR)
