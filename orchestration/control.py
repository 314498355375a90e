"""What the pipeline knows about itself, in the warehouse's `control` schema: cuts and tie-outs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from orchestration.tie_out import Figure
from pipelines.visibility import Cut
from schemas.contract import Contract, load_published


def record_cut(dsn: str, cut: Cut) -> int:
    """Store a cut; its number is the number of the tick that brings it."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "insert into control.cuts (lsn, snapshot, taken_at, totals) values (%s, %s, %s, %s)"
            " returning cut_id",
            (cut.lsn, cut.snapshot, cut.taken_at, json.dumps(cut.totals)),
        ).fetchone()
    assert row is not None  # noqa: S101 - insert returning always has a row
    return int(row[0])


def record_offsets(dsn: str, cut_id: int, offsets: Mapping[str, int]) -> None:
    """Below these offsets Kafka has everything before the cut; known once capture has passed it."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update control.cuts set offsets = %s where cut_id = %s", (json.dumps(offsets), cut_id)
        )


def record_silver(dsn: str, cut_id: int, entities: Iterable[str]) -> None:
    """The silver tables of these entities have all that belongs to the cut."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into control.silver_cuts as s (entity, cut_id) select unnest(%s::text[]), %s"
            " on conflict (entity) do update set cut_id = excluded.cut_id, built_at = now()"
            " where s.cut_id < excluded.cut_id",
            (list(entities), cut_id),
        )


def shown_cuts(dsn: str) -> dict[str, tuple[int, datetime]]:
    """Entity -> the cut that its published table shows, and when that was taken."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select entity, cut_id, taken_at from control.shown_cuts where cut_id is not null"
        )
        return {entity: (int(cut_id), taken_at) for entity, cut_id, taken_at in rows}


def last_cut(dsn: str) -> tuple[int, Cut]:
    """The newest cut: what a step that is run alone works towards."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select cut_id, lsn, snapshot, taken_at, totals from control.cuts"
            " order by cut_id desc limit 1"
        ).fetchone()
    if row is None:
        raise LookupError("no cut has been taken yet: materialize `cut`, or run the job `refresh`")
    cut_id, lsn, snapshot, taken_at, totals = row
    return int(cut_id), Cut.from_snapshot(lsn, snapshot, taken_at, totals)


def complete_cut(dsn: str, cut_id: int) -> None:
    """Everything up to the cut has reached gold."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update control.cuts set completed_at = now()"
            " where cut_id = %s and completed_at is null",
            (cut_id,),
        )


def standing_cut(dsn: str) -> tuple[int, datetime] | None:
    """The newest published cut, when all of it is in gold, and when it was last seen to stand."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select cut_id, coalesce(unchanged_through, taken_at) from control.cuts"
            " where cut_id = (select max(cut_id) from control.published_cut)"
            " and completed_at is not null"
        ).fetchone()
    return (int(row[0]), row[1]) if row else None


def keep_standing(dsn: str, cut_id: int, now: Cut) -> None:
    """Nothing of a captured table was committed between the cut and now; never moved back."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update control.cuts set unchanged_through_lsn = %s, unchanged_through = %s"
            " where cut_id = %s and coalesce(unchanged_through_lsn, lsn) <= %s",
            (now.lsn, now.taken_at, cut_id, now.lsn),
        )


def record_tie_out(dsn: str, cut_id: int, figures: Sequence[Figure]) -> None:
    """Store a comparison; comparing the same cut again replaces its figures."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into control.tie_outs (cut_id, entity, measure, currency,"
            " operational, silver, warehouse, gold) values (%s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (cut_id, entity, measure, currency) do update set"
            " operational = excluded.operational, silver = excluded.silver,"
            " warehouse = excluded.warehouse, gold = excluded.gold, checked_at = now()",
            [(cut_id, *astuple(figure)) for figure in figures],
        )


def last_tie_out(dsn: str) -> tuple[int, datetime, list[Figure]] | None:
    """The newest comparison: the cut's number, when it was taken, and the figures."""
    with psycopg.connect(dsn) as connection:
        cut = connection.execute(
            "select cut_id, taken_at from control.cuts where cut_id ="
            " (select max(cut_id) from control.tie_outs)"
        ).fetchone()
        if cut is None:
            return None
        rows = connection.execute(
            "select entity, measure, currency, operational, silver, warehouse, gold"
            " from control.tie_outs where cut_id = %s order by entity, measure = 'rows' desc,"
            " measure, currency",
            (cut[0],),
        ).fetchall()
    return int(cut[0]), cut[1], [_figure(row) for row in rows]


def published_totals(dsn: str) -> Mapping[str, Any]:
    """The totals of every published table, deleted rows aside; shaped like a cut's."""
    from pipelines.publish import warehouse_totals

    return {c.entity: warehouse_totals(dsn, c) for c in load_published()}


def published_rows(dsn: str, contract: Contract) -> int:
    """Live rows of a published table; none before its first publish."""
    table = sql.Identifier("silver", contract.entity)
    with psycopg.connect(dsn) as connection:
        known = connection.execute("select to_regclass(%s)", (f"silver.{contract.entity}",))
        if known.fetchone() == (None,):
            return 0
        count = sql.SQL("select count(*) from {} where not _is_deleted").format(table)
        row = connection.execute(count).fetchone()
    return int(row[0]) if row else 0


def gold_totals(dsn: str) -> dict[tuple[str, str, str], int]:
    """(entity, measure, currency) -> figure, as the mart says."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select entity, measure, currency,"
            " case when measure = 'rows' then row_count else amount_minor end"
            " from gold_credit.mart_tie_out"
        ).fetchall()
    return {(entity, measure, currency): int(figure) for entity, measure, currency, figure in rows}


def _figure(row: tuple[Any, ...]) -> Figure:
    entity, measure, currency, *figures = row
    return Figure(entity, measure, currency, *(_whole(figure) for figure in figures))


def _whole(figure: Decimal | None) -> int | None:
    return None if figure is None else int(figure)
