"""Asks the database about rows before any is written: temporary copies, its own rules.

The checks are the tables' own expressions, so what passes here is what will be taken. Foreign keys
are looked up among the rows of this import and those that are there; a unique value that another
row holds is told, where an insert would leave the row out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from oltp.importing.building import Batch
from oltp.importing.catalog import ENTRIES, TableFact

# A batch's row by number, the rule it broke and the columns of the rule.
Broken = tuple[int, str, tuple[str, ...], str]
Progress = Callable[[str, int, int], None]


def name_of(number: int) -> sql.Identifier:
    """The temporary table of the batch with this number."""
    return sql.Identifier(f"import_{number}")


def stage(
    connection: psycopg.Connection, batches: list[Batch], facts: dict[str, TableFact]
) -> None:
    """Copy all batches into temporary tables of the session."""
    with connection.transaction():
        for number, batch in enumerate(batches):
            connection.execute(sql.SQL("drop table if exists {}").format(name_of(number)))
            connection.execute(
                sql.SQL(
                    "create temp table {} (like {} including defaults, _n integer not null)"
                ).format(name_of(number), sql.Identifier(*batch.table.split(".")))
            )
            _copy(connection, number, batch)
            connection.execute(sql.SQL("create index on {} (_n)").format(name_of(number)))
            if batch.table == ENTRIES:
                _stage_postings(connection, number, batch)
            connection.execute(sql.SQL("analyze {}").format(name_of(number)))


def _copy(connection: psycopg.Connection, number: int, batch: Batch) -> None:
    if not batch.rows:
        return
    columns = list(batch.rows[0])
    names = sql.SQL(", ").join(map(sql.Identifier, (*columns, "_n")))
    query = sql.SQL("copy {} ({}) from stdin").format(name_of(number), names)
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for n, row in enumerate(batch.rows):
            copy.write_row((*map(_plain, row.values()), n))


def _plain(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value


def _stage_postings(connection: psycopg.Connection, number: int, batch: Batch) -> None:
    table = sql.Identifier(f"import_{number}_postings")
    connection.execute(sql.SQL("drop table if exists {}").format(table))
    connection.execute(
        sql.SQL("create temp table {} (_n integer, account uuid, currency text)").format(table)
    )
    query = sql.SQL("copy {} from stdin").format(table)
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for n, row in enumerate(batch.rows):
            debit, credit, _, currency = batch.postings[row["entry_id"]]
            copy.write_row((n, debit, currency))
            copy.write_row((n, credit, currency))
    connection.execute(sql.SQL("analyze {}").format(table))


def broken(
    connection: psycopg.Connection, batches: list[Batch], facts: dict[str, TableFact], number: int
) -> Iterator[Broken]:
    """The rows of one batch that the database would refuse, each with the rule."""
    batch = batches[number]
    fact = facts[batch.table]
    table = name_of(number)
    for rule, columns, text in fact.checks:
        query = sql.SQL("select _n from {} where ({}) is false").format(table, sql.SQL(text))
        for (n,) in connection.execute(query).fetchall():
            yield n, rule, columns, f"breaks {text}"
    for rule, columns, predicate in [*fact.uniques, ("primary key", fact.primary, None)]:
        yield from _repeated(connection, batch, fact, table, rule, columns, predicate)
    for rule, columns, parent, parent_columns in fact.parents:
        yield from _orphans(connection, batches, number, rule, columns, parent, parent_columns)
    if batch.table == ENTRIES:
        yield from _without_account(connection, batches, number)


def _repeated(
    connection: psycopg.Connection, batch: Batch, fact: TableFact, table: sql.Identifier,
    rule: str, columns: tuple[str, ...], predicate: str | None,
) -> Iterator[Broken]:  # fmt: skip
    given = set(batch.rows[0]) if batch.rows else set()
    if not set(columns) & given:
        return
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    where = sql.SQL(predicate or "true")
    filled = _all_not_null("s", columns)
    query = sql.SQL(
        "select n from (select _n as n, row_number() over (partition by {names} order by _n) as nth"
        " from {table} s where ({where}) and {filled}) r where nth > 1"
    ).format(names=names, table=table, where=where, filled=filled)
    for (n,) in connection.execute(query).fetchall():
        yield n, rule, columns, "is there twice"
    if columns == fact.primary:
        return
    query = sql.SQL(
        "select s._n from {table} s where ({where}) and exists (select from {target} t where {same}"
        " and ({key}) is distinct from ({other}))"
    ).format(
        table=table,
        target=sql.Identifier(*batch.table.split(".")),
        where=where,
        same=_equal(columns, columns),
        key=_row("s", fact.primary),
        other=_row("t", fact.primary),
    )
    for (n,) in connection.execute(query).fetchall():
        yield n, rule, columns, "is another row's already"


def _orphans(
    connection: psycopg.Connection, batches: list[Batch], number: int, rule: str,
    columns: tuple[str, ...], parent: str, parent_columns: tuple[str, ...],
) -> Iterator[Broken]:  # fmt: skip
    given = set(batches[number].rows[0]) if batches[number].rows else set()
    if not set(columns) & given:
        return
    same = _equal(columns, parent_columns)
    places = [sql.Identifier(*parent.split("."))]
    places += [name_of(n) for n, batch in enumerate(batches) if batch.table == parent]
    absent = sql.SQL(" and ").join(
        sql.SQL("not exists (select from {} t where {})").format(place, same) for place in places
    )
    query = sql.SQL("select _n from {} s where {} and {}").format(
        name_of(number), _all_not_null("s", columns), absent
    )
    for (n,) in connection.execute(query).fetchall():
        yield n, rule, columns, f"is not in {parent}"


def _without_account(
    connection: psycopg.Connection, batches: list[Batch], number: int
) -> Iterator[Broken]:
    """Entries on an account that is nowhere, or in another currency than its account."""
    keys = {"card.card_accounts": "account_id", "credit.active_credits": "credit_id"}
    places: list[sql.Composable] = [
        sql.SQL("select ledger_account_id as account, currency from ledger.accounts")
    ]
    places += [
        sql.SQL("select {}, currency from {}").format(
            sql.Identifier(keys[batch.table]), name_of(n)
        )
        for n, batch in enumerate(batches)
        if batch.table in keys
    ]  # fmt: skip
    query = sql.SQL(
        "select distinct p._n from {} p where not exists"
        " (select from ({}) a where a.account = p.account and a.currency = p.currency)"
    ).format(sql.Identifier(f"import_{number}_postings"), sql.SQL(" union all ").join(places))
    for (n,) in connection.execute(query).fetchall():
        yield n, "ledger account", (), "there is no ledger account of this id in this currency"


def _all_not_null(alias: str, columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} is not null").format(sql.Identifier(alias, column)) for column in columns
    )


def _equal(columns: tuple[str, ...], others: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier("s", one), sql.Identifier("t", other))
        for one, other in zip(columns, others, strict=True)
    )


def _row(alias: str, columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, column) for column in columns)
