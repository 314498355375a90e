"""What the warehouse shows of given keys: the last hop of a window, read by primary key.

Input: states that the lake has published. Output: the states of the same keys as readers see them.
Costs what the window costs, however large the table is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import psycopg
from psycopg import sql

from pipelines import publish
from pipelines.certificate import canonical
from pipelines.certificate.drilling import Change
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
    (exists,) = connection.execute(
        "select to_regclass(%s) is not null", (f"{publish.SCHEMA}.{contract.entity}",)
    ).fetchone() or (False,)
    if not exists:
        return []
    found: list[Change] = []
    wanted = iter(sorted(set(keys)))
    query = _query(contract)
    while some := list(islice(wanted, KEYS_A_QUERY)):
        columns = [list(column) for column in zip(*_parts(some), strict=True)]
        for key, lsn, op, digest, order in connection.execute(query, columns):
            found.append(Change(key, lsn, op, int(digest), order))
    return found


def _query(contract: Contract) -> sql.Composed:
    names = [column.name for column in publish.published(contract)]
    text = f"({canonical.row_text_postgres(contract, names)} || t._is_deleted::text)"
    placeholders = sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in contract.key)
    marks = [sql.Identifier(f"k{n}") for n in range(len(contract.key))]
    equal = [
        sql.SQL("t.{} = {}").format(sql.Identifier(name), _typed(contract.column(name), mark))
        for name, mark in zip(contract.key, marks, strict=True)
    ]
    return sql.SQL(
        "select {}, t._lsn, t._op, {}, t._commit_lsn from unnest({}) as k ({}) join {} as t on {}"
    ).format(
        sql.SQL(canonical.key_text_postgres(contract)),
        sql.SQL(canonical.digest_postgres(text)),
        placeholders,
        sql.SQL(", ").join(marks),
        sql.Identifier(publish.SCHEMA, contract.entity),
        sql.SQL(" and ").join(equal),
    )


def _typed(column: Column, mark: sql.Identifier) -> sql.Composed:
    cast = _OF_TEXT.get(column.type) or f"{{}}::{_TYPES.get(column.type, 'text')}"
    return sql.SQL(cast).format(mark)


def _parts(keys: Iterable[str]) -> Iterator[list[str]]:
    for key in keys:
        yield key.split(canonical.SEPARATOR)
