"""Publish silver to the warehouse: rows changed since the last publish, by COPY and MERGE.

Input: current rows with a tick beyond the watermark in control.published. Output: table
silver.<entity>, one row a key, deleted ones kept with `_is_deleted`. On replay: rows that are not
newer change nothing, and the watermark moves in the transaction that moves the rows.

All tables of a tick are published in one transaction, which also says what cut they show: a reader
in one REPEATABLE READ transaction sees one cut (`pipelines.reading`).

Personal data does not leave the lake: columns classified `pii` or `restricted` are left out
(customers: sealed values and their indexes; kyc_records: details).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import cdc, cut, delta, lake, refresh
from schemas.contract import Column, Contract

SCHEMA = "silver"
PUBLIC = "internal"
# Held by whoever publishes, shared by whoever builds from what is published.
TOGETHER = "publish"

_POSTGRES_TYPES = {
    "uuid": "uuid",
    "string": "text",
    "code": "text",
    "long": "bigint",
    "integer": "integer",
    "date": "date",
    "timestamp": "timestamptz",
    "boolean": "boolean",
    "json": "jsonb",
}
_TECHNICAL = {
    name: {"string": "text", "int": "integer", "timestamp": "timestamptz"}.get(kind, kind)
    for name, kind in {**cdc.TECHNICAL, "_tick": "bigint"}.items()
}


class PublishError(RuntimeError):
    """The warehouse table cannot take the rows; the message says why and what to do."""


@dataclass(frozen=True)
class Due:
    """What one table has to get: rows beyond its watermark, or none, or none for a reason.

    `is_at_cut` says that silver was brought to the cut, so that with these rows the table shows it.
    """

    contract: Contract
    rows: pa.Table | None
    tick: int
    is_at_cut: bool = True
    held_back_by: str = ""


@dataclass(frozen=True)
class Published:
    """What became of one table: rows written, why it was held back, the cut that it shows."""

    rows: int
    held_back_by: str
    cut_id: int | None


def publish_together(dsn: str, cut_id: int, due: Sequence[Due]) -> dict[str, Published]:
    """Make every table that is not held back show the cut, in one commit; entity -> what it did.

    A table that cannot take its rows is held back too, and its reason said; the others go on.
    """
    found: dict[str, Published] = {}
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        # What is built from these tables waits for us with the shared half of this lock.
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (TOGETHER,))
        # In one order, so that two publishers wait and do not block each other.
        for one in sorted(due, key=lambda each: each.contract.entity):
            found[one.contract.entity] = _publish_one(connection, cursor, one, cut_id)
        if any(one.cut_id == cut_id for one in found.values()):
            cursor.execute(
                "insert into control.published_cut as p (cut_id, rows) values (%s, %s)"
                " on conflict (cut_id) do update set rows = p.rows + excluded.rows,"
                " published_at = now()",
                (cut_id, sum(one.rows for one in found.values())),
            )
    return found


def publish_entity(spark: SparkSession, lake_folder: Path, dsn: str, contract: Contract) -> int:
    """Publish what changed since the last time; how many rows. No Spark job when nothing did."""
    since = watermark(dsn, contract)
    tick = refresh.last_tick(spark, lake_folder, contract)
    if tick == since:
        return 0
    # A lake that was built anew counts from a later tick, so `since` still selects every row.
    return publish(dsn, contract, increment(spark, lake_folder, contract, since), tick)


def increment(
    spark: SparkSession, lake_folder: Path, contract: Contract, watermark: int
) -> pa.Table:
    """Current rows changed by a build after `watermark`, in the columns that may be published."""
    table = lake.current(lake_folder, contract)
    names = [c.name for c in published(contract)] + list(_TECHNICAL)
    if not delta.exists(table):
        return pa.table({name: pa.array([], pa.string()) for name in names})
    changed = delta.read(spark, table).where(F.col("_tick") > watermark)
    missing = [n for n in names if n not in changed.columns]
    # A column that the contract has and no change has carried yet.
    return changed.select(
        *(F.lit(None).cast("string").alias(n) if n in missing else F.col(n) for n in names)
    ).toArrow()


def publish(
    dsn: str, contract: Contract, table: pa.Table, tick: int, cut_id: int | None = None
) -> int:
    """Merge one table's rows and move its watermark in one transaction; how many rows changed."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        return _write(cursor, contract, table, tick, cut_id)


def watermark(dsn: str, contract: Contract) -> int:
    """The tick that has been published; delta.NEVER - 1 before the first publish."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "select tick from control.published where entity = %s", (contract.entity,)
        ).fetchone()
    return int(found[0]) if found else delta.NEVER - 1


def warehouse_totals(dsn: str, contract: Contract) -> dict[str, Any]:
    """Rows and money of the published table, deleted rows left out: for the tie-out."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        where = sql.SQL("not _is_deleted")
        return cut.table_totals(cursor, contract, _name(contract), where)


def published(contract: Contract) -> tuple[Column, ...]:
    """The columns that may leave the lake."""
    return tuple(c for c in contract.columns if c.classification == PUBLIC)


def _publish_one(
    connection: psycopg.Connection, cursor: psycopg.Cursor[Any], due: Due, cut_id: int
) -> Published:
    shows = cut_id if due.is_at_cut else None
    held_back_by = due.held_back_by
    if not held_back_by:
        try:
            with connection.transaction():
                if due.rows is not None or shows:
                    rows = _write(cursor, due.contract, due.rows, due.tick, shows)
                    return Published(rows, "", shows)
        except (PublishError, psycopg.errors.DataError) as error:
            held_back_by = str(error).strip()
    # Nothing is written, so the table goes on showing what it shows.
    cursor.execute(
        "insert into control.published as p (entity, tick, rows, held_back_by, published_at)"
        " values (%s, %s, 0, nullif(%s, ''), null) on conflict (entity) do update"
        " set held_back_by = coalesce(excluded.held_back_by, p.held_back_by) returning cut_id",
        (due.contract.entity, delta.NEVER - 1, held_back_by),
    )
    (shown,) = cursor.fetchone() or (None,)
    return Published(0, held_back_by, shown)


def _write(
    cursor: psycopg.Cursor[Any],
    contract: Contract,
    table: pa.Table | None,
    tick: int,
    cut_id: int | None,
) -> int:
    # One publisher an entity: two MERGEs of the same new key would collide.
    cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"publish:{contract.entity}",))
    rows = 0
    if table is not None:
        _require_table(cursor, contract)
        rows = _merge(cursor, contract, table) if table.num_rows else 0
    cursor.execute(
        "insert into control.published as p (entity, tick, rows, cut_id) values (%s, %s, %s, %s)"
        " on conflict (entity) do update set tick = excluded.tick, cut_id = excluded.cut_id,"
        " held_back_by = null, published_at = now(),"
        " rows = case when excluded.rows > 0 then excluded.rows else p.rows end"
        " where p.tick <= excluded.tick",
        (contract.entity, tick, rows, cut_id),
    )
    return rows


def _require_table(cursor: psycopg.Cursor[Any], contract: Contract) -> None:
    """Make the table, or add the columns it lacks; a column of another type stops the publish."""
    wanted = {c.name: _type(c) for c in published(contract)} | _TECHNICAL
    has = _columns(cursor, contract)
    if not has:
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in wanted.items()
        ]
        key = sql.SQL(", ").join(map(sql.Identifier, contract.key))
        body = sql.SQL(", ").join([*columns, sql.SQL("primary key ({})").format(key)])
        cursor.execute(sql.SQL("create table {} ({})").format(_name(contract), body))
        return
    for name, kind in wanted.items():
        if name not in has:
            added = sql.SQL("alter table {} add column {} {}").format(
                _name(contract), sql.Identifier(name), sql.SQL(kind)
            )
            cursor.execute(added)
        elif has[name] != kind:
            raise PublishError(
                f"{SCHEMA}.{contract.entity}.{name} is {has[name]} in the warehouse and {kind} in "
                "the contract: a type is not changed by itself. Migrate or drop the table"
            )


def _merge(cursor: psycopg.Cursor[Any], contract: Contract, table: pa.Table) -> int:
    names = [*(c.name for c in published(contract)), *_TECHNICAL]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    stage = sql.Identifier(f"stage_{contract.entity}")
    cursor.execute(
        sql.SQL("create temporary table {} on commit drop as select {} from {} limit 0").format(
            stage, columns, _name(contract)
        )
    )
    copy = sql.SQL("copy {} ({}) from stdin (format csv, header true)").format(stage, columns)
    with cursor.copy(copy) as stream:
        stream.write(_csv(table.select(names)))
    others = [n for n in names if n not in contract.key]
    cursor.execute(
        sql.SQL(
            "merge into {} as t using {} as s on {}"
            " when matched and ({}) >= ({}) and s._tick > t._tick then update set {}"
            " when not matched then insert ({}) values ({})"
        ).format(
            _name(contract),
            stage,
            sql.SQL(" and ").join(sql.SQL("t.{0} = s.{0}").format(_i(n)) for n in contract.key),
            _side("s", cdc.ORDER),
            _side("t", cdc.ORDER),
            sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(_i(n)) for n in others),
            columns,
            _side("s", names),
        )
    )
    return cursor.rowcount


def _csv(table: pa.Table) -> bytes:
    """Arrow as CSV: a null is empty, an empty string is quoted, a decimal is exact text."""
    plain = [
        field.with_type(pa.string()) if pa.types.is_decimal(field.type) else field
        for field in table.schema
    ]
    out = io.BytesIO()
    csv.write_csv(table.cast(pa.schema(plain)), out)
    return out.getvalue()


def _columns(cursor: psycopg.Cursor[Any], contract: Contract) -> Mapping[str, str]:
    cursor.execute(
        "select attname, replace(format_type(atttypid, atttypmod), 'timestamp with time zone',"
        " 'timestamptz') from pg_attribute where attrelid = to_regclass(%s) and attnum > 0"
        " and not attisdropped",
        (f"{SCHEMA}.{contract.entity}",),
    )
    return dict(cursor.fetchall())


def _type(column: Column) -> str:
    if column.type == "decimal":
        return f"numeric({column.precision},{column.scale})"
    return _POSTGRES_TYPES[column.type]


def _name(contract: Contract) -> sql.Identifier:
    return sql.Identifier(SCHEMA, contract.entity)


def _side(side: str, names: Any) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(_i(side), _i(name)) for name in names)


def _i(name: str) -> sql.Identifier:
    return sql.Identifier(name)
