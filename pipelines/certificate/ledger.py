"""The certificate's own tables in the warehouse: how far each table is proven, what was found.

Input: verdicts of a cut. Output: figures of each hop, open breaks, and how far every table is
certified. On replay: the same cut's figures are written over, an open break is one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg

from pipelines.certificate.comparing import Verdict
from pipelines.certificate.drilling import Break
from pipelines.visibility import Cut
from schemas import contract as contracts

WINDOW, STATE = "window", "state"


@dataclass(frozen=True)
class Reach:
    """How far a table is certified, and where its next window begins in the lake."""

    cut_id: int
    cut: Cut
    bronze: str
    after_batch: int
    shown_after_batch: int
    last_batch: int


@dataclass(frozen=True)
class Place:
    """Where a table's silver stands now: what its reach becomes when everything agrees."""

    after_batch: int
    shown_after_batch: int
    last_batch: int


@dataclass(frozen=True)
class Line:
    """One table as it is printed: how far it is complete, and the figures of its last window."""

    entity: str
    cut_id: int | None
    lsn: int | None
    taken_at: datetime | None
    # hop -> (changes, digest, duplicates, quarantined, reordered)
    hops: Mapping[str, tuple[int, int, int, int, int]]
    breaks: tuple[str, ...]


def reaches(dsn: str) -> dict[str, Reach]:
    """Entity -> how far it is certified."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select d.entity, d.cut_id, c.lsn, c.snapshot, c.taken_at, d.bronze, d.after_batch,"
            " d.shown_after_batch, d.last_batch from control.certified as d"
            " join control.cuts as c on c.cut_id = d.cut_id where d.last_batch is not null"
        ).fetchall()
    return {
        entity: Reach(
            int(cut_id),
            Cut.from_snapshot(int(lsn), snapshot, taken_at),
            bronze,
            int(after),
            int(shown),
            int(last),
        )
        for entity, cut_id, lsn, snapshot, taken_at, bronze, after, shown, last in rows
    }


def record(
    dsn: str,
    cut_id: int,
    mode: str,
    since: Mapping[str, int | None],
    verdicts: Sequence[Verdict],
) -> None:
    """Keep what every hop counted, and open, renew or settle the breaks of these tables."""
    rows = [
        (cut_id, since.get(v.entity), mode, v.entity, hop, *asdict(figures).values())
        for v in verdicts
        for hop, figures in v.hops.items()
    ]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        if rows:
            cursor.executemany(
                "insert into control.certificates (cut_id, since_cut_id, mode, entity, hop,"
                " changes, digest, duplicates, quarantined, reordered)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " on conflict (cut_id, mode, entity, hop) do update set"
                " since_cut_id = excluded.since_cut_id, changes = excluded.changes,"
                " digest = excluded.digest, duplicates = excluded.duplicates,"
                " quarantined = excluded.quarantined, reordered = excluded.reordered,"
                " checked_at = now()",
                rows,
            )
        opened = cursor.execute(
            "select distinct entity from control.certificate_breaks where resolved_at is null"
        ).fetchall()
        has_open = {entity for (entity,) in opened}
        for verdict in verdicts:
            if verdict.entity in has_open or not verdict.holds:
                _record_breaks(cursor, cut_id, mode, verdict)


def close(
    dsn: str, cut_id: int, mode: str, since_cut_id: int | None, changes: int, seconds: float
) -> None:
    """Every captured table was compared at this cut."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into control.certified_cuts (cut_id, mode, since_cut_id, changes, seconds)"
            " values (%s, %s, %s, %s, %s) on conflict (cut_id, mode) do update set"
            " changes = excluded.changes, seconds = excluded.seconds, certified_at = now()",
            (cut_id, mode, since_cut_id, changes, round(seconds, 3)),
        )


def certify(dsn: str, cut_id: int, bronze: str, places: Mapping[str, Place]) -> None:
    """These tables agree at every hop, up to this cut."""
    if not places:
        return
    rows = [(e, p.after_batch, p.shown_after_batch, p.last_batch) for e, p in places.items()]
    entities, after, shown, last = (list(column) for column in zip(*rows, strict=True))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into control.certified as d"
            " (entity, cut_id, bronze, after_batch, shown_after_batch, last_batch)"
            " select e, %s, %s, a, s, l"
            " from unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) as t (e, a, s, l)"
            " on conflict (entity) do update set cut_id = excluded.cut_id,"
            " bronze = excluded.bronze, after_batch = excluded.after_batch,"
            " shown_after_batch = excluded.shown_after_batch, last_batch = excluded.last_batch,"
            " certified_at = now() where d.cut_id <= excluded.cut_id",
            (cut_id, bronze, entities, after, shown, last),
        )


def open_breaks(dsn: str, mode: str | None = None) -> list[tuple[int, datetime, Break]]:
    """What has been found (by this way of looking) and is not settled: cut, when, the break."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select cut_id, found_at, entity, hop, kind, keys, coalesce(first_key, ''),"
            " coalesce(last_key, ''), coalesce(first_lsn, 0), coalesce(last_lsn, 0)"
            " from control.certificate_breaks where resolved_at is null"
            " and (%s::text is null or details ->> 'mode' = %s)"
            " order by entity, cut_id, hop, kind",
            (mode, mode),
        ).fetchall()
    return [(int(cut_id), found_at, Break(*rest)) for cut_id, found_at, *rest in rows]


def settle(dsn: str, entities: Iterable[str], resolution: str) -> int:
    """Close the open breaks of tables that agree; how many."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "update control.certificate_breaks set resolved_at = now(), resolution = %s"
            " where resolved_at is null and entity = any(%s)",
            (resolution, list(entities)),
        ).rowcount


def last_window(dsn: str) -> tuple[int, datetime, float, list[Line]] | None:
    """The newest certified cut, when it was taken, what it cost, and every table at it."""
    with psycopg.connect(dsn) as connection:
        newest = connection.execute(
            "select t.cut_id, c.taken_at, t.seconds from control.certified_cuts as t"
            " join control.cuts as c on c.cut_id = t.cut_id order by t.certified_at desc limit 1"
        ).fetchone()
    if newest is None:
        return None
    return int(newest[0]), newest[1], float(newest[2]), lines_at(dsn, newest[0])


def lines_at(dsn: str, cut_id: int) -> list[Line]:
    """Every table: what was compared at this cut, what is open about it, how far it is proven."""
    with psycopg.connect(dsn) as connection:
        through = connection.execute(
            "select entity, cut_id, lsn, taken_at from control.complete_through order by entity"
        ).fetchall()
        figures = connection.execute(
            "select entity, hop, changes, digest, duplicates, quarantined, reordered"
            " from control.certificates where cut_id = %s",
            (cut_id,),
        ).fetchall()
    hops: dict[str, dict[str, tuple[int, int, int, int, int]]] = {}
    for entity, hop, *numbers in figures:
        hops.setdefault(entity, {})[hop] = tuple(map(int, numbers))  # type: ignore[assignment]
    broken: dict[str, list[str]] = {}
    for _, _, one in open_breaks(dsn):
        broken.setdefault(one.entity, []).append(str(one))
    places = {entity: rest for entity, *rest in through}
    every = {contract.entity for contract in contracts.load_all()}
    return [
        Line(
            entity, *_place(places.get(entity)), hops.get(entity, {}), tuple(broken.get(entity, ()))
        )
        for entity in sorted(every | places.keys() | hops.keys() | broken.keys())
    ]


def _place(found: Sequence[Any] | None) -> tuple[int | None, int | None, datetime | None]:
    return (int(found[0]), int(found[1]), found[2]) if found else (None, None, None)


def _record_breaks(cursor: psycopg.Cursor[Any], cut_id: int, mode: str, verdict: Verdict) -> None:
    serious = [one for one in verdict.breaks if not one.is_lawful]
    for one in serious:
        values = (one.keys, one.first_key, one.last_key, one.first_lsn, one.last_lsn)
        details = json.dumps({"mode": mode, "last_seen_cut_id": cut_id})
        name = (one.entity, one.hop, one.kind)
        cursor.execute(
            "update control.certificate_breaks set keys = %s, first_key = %s, last_key = %s,"
            " first_lsn = %s, last_lsn = %s, details = details || %s"
            " where entity = %s and hop = %s and kind = %s and resolved_at is null",
            (*values, details, *name),
        )
        if not cursor.rowcount:
            cursor.execute(
                "insert into control.certificate_breaks (cut_id, entity, hop, kind, keys,"
                " first_key, last_key, first_lsn, last_lsn, details)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (cut_id, *name, *values, details),
            )
    kinds = [f"{one.hop} {one.kind}" for one in serious]
    cursor.execute(
        "update control.certificate_breaks set resolved_at = now(), resolution = %s"
        " where resolved_at is null and entity = %s and hop || ' ' || kind <> all(%s)"
        # What a comparison of whole states has found is older than a window.
        " and (%s or details ->> 'mode' = 'window')",
        (f"agreed at cut {cut_id}", verdict.entity, kinds, mode == STATE),
    )
