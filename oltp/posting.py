"""Posts many ledger entries at once, by COPY: each entry exactly once, with all its postings.

Grain: entries one a business event, postings one an account and layer that the event moves; amounts
are minor units, above zero. An entry whose `entry_id` or `external_ref` is there already is left
alone with all its postings, so repeating a call changes nothing. Balances follow in the same
transaction (ledger.post). Raises psycopg's CheckViolation for an entry that does not add up and for
a posting that is not in its account's currency.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from oltp.copying import Rows

# Columns with what stands in for one that a caller leaves out.
ENTRY = {
    "entry_id": None,
    "entry_type": None,
    "authorization_id": None,
    "hold_id": None,
    "over_limit_allowed": False,
    "reverses_entry_id": None,
    "effective_at": None,
    "external_ref": None,
    "created_at": None,
}
POSTING = {
    "posting_id": None,
    "entry_id": None,
    "ledger_account_id": None,
    "layer": "POSTED",
    "direction": None,
    "amount_minor": None,
    "currency": None,
    "created_at": None,
}
# Entries are written in the order they took effect: this is the order of the journal.
ADD = """
    with added as (
        insert into ledger.entries ({entry_columns}, created_at)
        select {entry_columns}, coalesce(created_at, clock_timestamp()) from staged_entries
        order by coalesce(created_at, effective_at), effective_at, entry_id
        on conflict do nothing
        returning entry_id, created_at
    ),
    posted as (
        insert into ledger.postings ({posting_columns}, created_at)
        select {posting_columns}, coalesce(p.created_at, a.created_at)
        from staged_postings p join added a using (entry_id)
    )
    select count(*) from added
"""


def house(kind: str, currency: str) -> UUID:
    """The ledger account that the house has for this kind (SETTLEMENT, CASH, ...) and currency."""
    return _digest(f"{kind}:{currency}")


def move(
    entry_id: UUID,
    debit: UUID,
    credit: UUID,
    amount_minor: int,
    currency: str,
    layer: str = "POSTED",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two postings of an amount that goes from one account to another."""
    shared = {"entry_id": entry_id, "layer": layer, "currency": currency}
    return (
        shared | {"ledger_account_id": debit, "direction": "DEBIT", "amount_minor": amount_minor},
        shared | {"ledger_account_id": credit, "direction": "CREDIT", "amount_minor": amount_minor},
    )


def post(connection: psycopg.Connection, entries: Rows, postings: Rows) -> int:
    """Post the entries in one transaction; how many were new.

    Entries need `entry_id`, `entry_type` and `effective_at`; postings `entry_id`,
    `ledger_account_id`, `direction`, `amount_minor` and `currency`, their layer is POSTED unless
    said. `created_at` is when the entry was recorded: now, unless history says otherwise.
    """
    if not entries:
        return 0
    with connection.transaction():
        _stage(connection, "entries", ENTRY, entries)
        _stage(connection, "postings", POSTING, _numbered(postings))
        ((added,),) = connection.execute(
            sql.SQL(ADD).format(entry_columns=_names(ENTRY), posting_columns=_names(POSTING))
        ).fetchall()
        connection.execute("drop table staged_entries, staged_postings")
    return int(added)


def _stage(
    connection: psycopg.Connection,
    table: str,
    defaults: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
) -> None:
    """Copy the rows into a temporary table of the session's own."""
    stage = sql.Identifier(f"staged_{table}")
    connection.execute(
        sql.SQL("create temp table {} as select * from {} with no data").format(
            stage, sql.Identifier("ledger", table)
        )
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, defaults))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy {} ({}) from stdin").format(stage, columns)) as copy,
    ):
        for row in rows:
            unknown = row.keys() - defaults.keys()
            if unknown:
                raise KeyError(f"ledger.{table} has no column {sorted(unknown)}")
            copy.write_row(tuple(row.get(name, default) for name, default in defaults.items()))
    connection.execute(sql.SQL("analyze {}").format(stage))


def _numbered(postings: Rows) -> Iterable[Mapping[str, Any]]:
    """Postings with the id that follows from their place in the entry, unless they have one."""
    counts: Counter[object] = Counter()
    for posting in postings:
        entry_id = posting["entry_id"]
        counts[entry_id] += 1
        number = counts[entry_id]
        yield {
            "posting_id": _digest(f"{entry_id}:{number}"),
            **posting,
        }


def _names(defaults: Mapping[str, Any]) -> sql.Composable:
    """The columns that are taken as they were given: all but created_at."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in defaults if name != "created_at")


def _digest(text: str) -> UUID:
    return UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
