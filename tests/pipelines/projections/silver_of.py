"""Silver's tables as they would be of what an operational database holds now."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from pipelines import cdc, delta, lake
from pipelines.projections import runner
from schemas import contract as contracts
from schemas.contract import Contract


def write(
    spark: Any, folder: Path, dsn: str, entities: tuple[str, ...], with_history: tuple[str, ...]
) -> None:
    """Make current (of some, history) of these tables anew, one state a row."""
    spark = spark.newSession()
    for name, value in runner.QUICK.items():
        spark.conf.set(name, value)
    with psycopg.connect(dsn) as connection:
        for entity in entities:
            contract = contracts.load(entity)
            rows = frame(spark, contract, rows_of(connection, contract)).coalesce(1)
            delta.replace(rows, lake.current(folder, contract))
            if entity in with_history:
                delta.replace(rows, lake.history(folder, contract))


def rows_of(connection: psycopg.Connection, contract: Contract) -> list[tuple[Any, ...]]:
    """The contract's columns of every row, as Python values that Spark takes."""
    columns = [
        sql.SQL("{}::text").format(sql.Identifier(c.name))
        if c.type in ("uuid", "string", "code", "json")
        else sql.Identifier(c.name)
        for c in contract.columns
    ]
    query = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(columns), sql.Identifier(*contract.source.split("."))
    )
    return connection.execute(query).fetchall()


def frame(spark: Any, contract: Contract, rows: list[tuple[Any, ...]]) -> Any:
    ddl = ", ".join(f"`{c.name}` {cdc.sql_type(c)}" for c in contract.columns)
    return spark.createDataFrame(rows, ddl).selectExpr(
        "*",
        "false as _is_deleted",
        "true as _is_current",
        "'c' as _op",
        "1L as _commit_lsn",
        "1 as _streamed",
        "monotonically_increasing_id() as _lsn",
        "created_at as _changed_at",
    )


def plain(value: Any) -> Any:
    """One value, the same from either database; times as microseconds."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return int(value.timestamp()) * 1_000_000 + value.microsecond
    return value.isoformat() if isinstance(value, date) else value
