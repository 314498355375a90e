"""The guard's memory in the warehouse: every look, every lag, each break until it is resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from pipelines.capture.judging import Facts, Finding, Verdict

# What pace and age are judged from, and what a plot can show.
JUDGED_OVER = timedelta(hours=2)
KEPT_OF_SLOTS, KEPT_OF_TABLES = timedelta(days=30), timedelta(days=2)

_COLUMNS = tuple("is_there" if f.name == "exists" else f.name for f in fields(Facts))
_FACTS = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))


@dataclass(frozen=True)
class Break:
    """A stretch of log that may be missing, until somebody has made it good."""

    break_id: int
    kind: str
    said: str
    found_at: datetime
    lost_from_lsn: int | None
    lost_to_lsn: int | None
    # Where a recovery that has begun put the boundary between old and new changes.
    between_lsn: int | None = None


@dataclass(frozen=True)
class TableLag:
    """How far one table is complete; `behind_*` are unknown before its first complete tick."""

    entity: str
    waiting: int
    complete_lsn: int | None
    behind_bytes: int | None
    behind_s: float | None


@dataclass(frozen=True)
class Complete:
    """A cut that an entity has reached; `offsets`: where its topics ended when it was taken."""

    lsn: int
    taken_at: datetime
    offsets: Mapping[str, int]


def looks(warehouse_dsn: str, slot: str, over: timedelta = JUDGED_OVER) -> list[Facts]:
    """Looks at what is held to be this slot, oldest first: those since its last recovery.

    The last one is always among them, however old: identity does not expire.
    """
    query = sql.SQL(
        "with since as (select coalesce(max(resolved_at), '-infinity') as at"
        "   from control.capture_breaks where slot = %(slot)s),"
        " own as (select h.* from control.slot_history h, since"
        "   where h.slot = %(slot)s and h.seen_at > since.at)"
        " select {} from own where seen_at >= (select max(seen_at) from own) - %(over)s"
        " order by seen_at"
    ).format(_FACTS)
    with psycopg.connect(warehouse_dsn) as connection:
        rows = connection.execute(query, {"slot": slot, "over": over}).fetchall()
    return [_facts(row) for row in rows]


def remember(warehouse_dsn: str, now: Facts, verdict: Verdict) -> None:
    """Keep this look, and a break for each thing that is broken and not yet known."""
    places = sql.SQL(", ").join([sql.Placeholder()] * (len(_COLUMNS) + 3))
    insert = sql.SQL(
        "insert into control.slot_history ({}, behind_s, level, findings) values ({})"
        " on conflict do nothing"
    ).format(_FACTS, places)
    said = [f"{f.level}: {f.said}" for f in verdict.findings]
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(insert, (*astuple(now), verdict.behind_s, verdict.level, said))
        for finding in verdict.broken:
            _add_break(connection, now.slot, finding)
        connection.execute(
            "delete from control.slot_history where seen_at < %s", (now.seen_at - KEPT_OF_SLOTS,)
        )


def open_breaks(warehouse_dsn: str, slot: str) -> list[Break]:
    """What stands between this slot and trust, oldest first."""
    with psycopg.connect(warehouse_dsn) as connection:
        rows = connection.execute(
            "select break_id, kind, said, found_at, lost_from_lsn, lost_to_lsn, between_lsn"
            " from control.capture_breaks where slot = %s and resolved_at is null"
            " order by break_id",
            (slot,),
        ).fetchall()
    return [Break(*row) for row in rows]


def begin_recovery(warehouse_dsn: str, slot: str, between_lsn: int) -> None:
    """A new slot is there: an interrupted recovery goes on from here instead of making another."""
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute(
            "update control.capture_breaks set between_lsn = %s"
            " where slot = %s and resolved_at is null",
            (between_lsn, slot),
        )


def furthest_lsn(warehouse_dsn: str, slot: str) -> int:
    """As far as capture was ever seen to have got, on whatever server."""
    with psycopg.connect(warehouse_dsn) as connection:
        row = connection.execute(
            "select coalesce(max(greatest(confirmed_lsn, stored_lsn)), 0) from control.slot_history"
            " where slot = %s",
            (slot,),
        ).fetchone()
    return int(row[0]) if row else 0


def resolve(warehouse_dsn: str, slot: str, resolution: str) -> int:
    """The slot as it is now is trusted again; says how many breaks that ended."""
    with psycopg.connect(warehouse_dsn) as connection:
        return connection.execute(
            "update control.capture_breaks set resolved_at = clock_timestamp(), resolution = %s"
            " where slot = %s and resolved_at is null",
            (resolution, slot),
        ).rowcount


def completeness(warehouse_dsn: str) -> dict[str, Complete]:
    """The last cut that each entity has come to the end with: silver, and published if it is."""
    with psycopg.connect(warehouse_dsn) as connection:
        rows = connection.execute(
            "select s.entity, c.lsn, c.taken_at, c.offsets from control.silver_cuts s"
            " left join control.published p using (entity)"
            " join control.cuts c on c.cut_id = least(s.cut_id, coalesce(p.cut_id, s.cut_id))"
        ).fetchall()
    return {
        entity: Complete(int(lsn), taken_at, offsets or {})
        for entity, lsn, taken_at, offsets in rows
    }


def table_lag(
    now: Facts,
    behind_s: float,
    waiting: Mapping[str, int],
    complete: Mapping[str, Complete],
) -> list[TableLag]:
    """Pure. `waiting`: records in Kafka beyond the last complete cut, for every captured entity.

    Without any, a table is complete as far as the slot has been read, however old its last change.
    """
    found = []
    for entity, records in sorted(waiting.items()):
        if records == 0:
            found.append(TableLag(entity, 0, now.confirmed_lsn, now.behind_bytes, behind_s))
        elif known := complete.get(entity):
            age_s = max(0.0, (now.seen_at - known.taken_at).total_seconds())
            behind_bytes = max(0, now.current_lsn - known.lsn)
            found.append(TableLag(entity, records, known.lsn, behind_bytes, age_s))
        else:
            found.append(TableLag(entity, records, None, None, None))
    return found


def remember_tables(warehouse_dsn: str, now: Facts, lags: Sequence[TableLag]) -> None:
    """Keep every table's lag of this moment."""
    with psycopg.connect(warehouse_dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into control.table_lag"
            " (seen_at, entity, waiting, complete_lsn, behind_bytes, behind_s)"
            " values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
            [(now.seen_at, *astuple(lag)) for lag in lags],
        )
        cursor.execute(
            "delete from control.table_lag where seen_at < %s", (now.seen_at - KEPT_OF_TABLES,)
        )


def _add_break(connection: psycopg.Connection[Any], slot: str, finding: Finding) -> None:
    start, end = finding.lost or (None, None)
    connection.execute(
        "insert into control.capture_breaks (slot, kind, said, lost_from_lsn, lost_to_lsn)"
        " values (%s, %s, %s, %s, %s) on conflict (slot, kind)"
        " where resolved_at is null do nothing",
        (slot, finding.kind, finding.said, start, end),
    )


def _facts(row: Sequence[Any]) -> Facts:
    values = dict(zip((f.name for f in fields(Facts)), row, strict=True))
    return Facts(**{**values, "system_identifier": int(values["system_identifier"])})
