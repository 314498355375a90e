"""Cuts: take one from the operational database, and wait until capture has passed it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from pipelines.visibility import Cut
from schemas import contract as contracts
from schemas.contract import Contract

SLOT = "millrace"
POLL_S = 0.2
# A heartbeat gives the connector something to confirm; a lost one is made good by the next.
BEAT_EVERY_S = 1.0
EVERY_ROW = sql.SQL("true")


class CaptureBehind(RuntimeError):
    """Capture has not passed the cut; the message says why and what to do."""


def take(admin_dsn: str) -> Cut:
    """The operational database as it is now, with the totals that every layer must reach."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("begin transaction isolation level repeatable read read only")
        cut = taken(cursor)
        cursor.execute("commit")
    return cut


def taken(cursor: psycopg.Cursor[Any]) -> Cut:
    """The cut of a REPEATABLE READ transaction that has read nothing yet and may read on in it."""
    at = _moment(cursor)
    totals = {c.entity: operational_totals(cursor, c) for c in contracts.load_published()}
    return replace(at, totals=totals)


def moment(admin_dsn: str) -> Cut:
    """A cut without totals: where the operational database is now. Reads no table."""
    with psycopg.connect(admin_dsn) as connection, connection.cursor() as cursor:
        return _moment(cursor)


def wait_for_capture(admin_dsn: str, cut: Cut, timeout_s: float, slot: str = SLOT) -> float:
    """Seconds it took until everything before the cut was in Kafka; CaptureBehind at the limit."""
    started = time.monotonic()
    beat_at = float("-inf")
    with psycopg.connect(admin_dsn, autocommit=True) as connection, connection.cursor() as cursor:
        while True:
            confirmed = _confirmed_lsn(cursor, slot)
            waited = time.monotonic() - started
            if confirmed >= cut.lsn:
                return waited
            if waited > timeout_s:
                raise CaptureBehind(
                    f"slot {slot} has confirmed {_lsn(confirmed)}, {cut.lsn - confirmed} bytes "
                    f"behind the cut at {_lsn(cut.lsn)} after {timeout_s:.0f} s: is the connector "
                    "running? (`millrace status`)"
                )
            if time.monotonic() - beat_at > BEAT_EVERY_S:
                beat_at = time.monotonic()
                cursor.execute(
                    "insert into ops.heartbeat (id, beat_at) values (1, now())"
                    " on conflict (id) do update set beat_at = excluded.beat_at"
                )
            time.sleep(POLL_S)


def operational_totals(cursor: psycopg.Cursor[Any], contract: Contract) -> dict[str, Any]:
    """Rows, and money per column and currency, in the cursor's snapshot."""
    schema, table = contract.source.split(".")
    where: sql.Composable = EVERY_ROW
    if contract.deleted_when:
        where = sql.SQL("not coalesce({}, false)").format(sql.SQL(contract.deleted_when))
    return table_totals(cursor, contract, sql.Identifier(schema, table), where)


def table_totals(
    cursor: psycopg.Cursor[Any],
    contract: Contract,
    table: sql.Composable,
    where: sql.Composable = EVERY_ROW,
) -> dict[str, Any]:
    """The totals of any Postgres table with the contract's columns: the source or its copy."""
    if not contract.money:
        query = sql.SQL("select '', count(*) from {} where {}").format(table, where)
    else:
        sums = sql.SQL(", ").join(
            sql.SQL("sum({})").format(sql.Identifier(column)) for column in contract.money
        )
        query = sql.SQL("select currency::text, count(*), {} from {} where {} group by 1").format(
            sums, table, where
        )
    cursor.execute(query)
    return shaped_totals(contract, cursor.fetchall())


def shaped_totals(contract: Contract, groups: list[Any]) -> dict[str, Any]:
    """Rows of (currency, count, sum per money column) in the shape that totals have everywhere."""
    return {
        "rows": sum(int(group[1]) for group in groups),
        "money": {
            column: {group[0]: int(group[2 + place]) for group in sorted(groups)}
            for place, column in enumerate(contract.money)
        },
    }


def _moment(cursor: psycopg.Cursor[Any]) -> Cut:
    # The first statement takes the snapshot; the LSN read after it covers every visible commit.
    cursor.execute("select pg_current_snapshot()::text, now()")
    snapshot, taken_at = _row(cursor)
    cursor.execute("select pg_current_wal_insert_lsn() - '0/0'")
    (lsn,) = _row(cursor)
    return Cut.from_snapshot(int(lsn), snapshot, taken_at)


def _confirmed_lsn(cursor: psycopg.Cursor[Any], slot: str) -> int:
    cursor.execute(
        "select wal_status, confirmed_flush_lsn - '0/0' from pg_replication_slots"
        " where slot_name = %s",
        (slot,),
    )
    found = cursor.fetchone()
    if found is None:
        raise CaptureBehind(
            f"there is no replication slot {slot}: the connector has never run, or the slot was "
            "dropped; register it (`millrace connectors apply`) and take a new snapshot"
        )
    if found[0] == "lost":
        raise CaptureBehind(
            f"slot {slot} is lost: the server removed WAL that it still needed, so changes are "
            "missing; drop it, take a new snapshot and reconcile"
        )
    return int(found[1] or 0)


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("the server answered a query that has one row with none")
    return tuple(row)
