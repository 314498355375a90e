"""The truncates of a table that holds no money: kept, so that a late older change is ended too.

They are a table of their own because they concern every key, also those that come later.
"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from pipelines import delta, lake
from pipelines.history import OF_TRUNCATE, Truncates
from schemas.contract import Contract


def keep(lake_folder: Path, contract: Contract, found: DataFrame) -> Truncates:
    """Add truncate changes, each position once; they, in order."""
    table = lake.truncates(lake_folder, contract)
    rows = found.select(*OF_TRUNCATE).dropDuplicates(["_lsn"]).coalesce(1)
    if delta.exists(table):
        delta.merge(rows, table, "t._lsn = s._lsn", newer=None)
    else:
        delta.append(rows, table, statistics=("_lsn",))
    return _read(rows)


def known(spark: SparkSession, lake_folder: Path, contract: Contract) -> Truncates | None:
    """Every truncate of the table so far; None, without a Spark job, when there was none."""
    table = lake.truncates(lake_folder, contract)
    return _read(delta.read(spark, table)) if delta.exists(table) else None


def _read(rows: DataFrame) -> Truncates:
    texts = rows.selectExpr(*(f"cast({name} as string)" for name in OF_TRUNCATE))
    return Truncates.of([tuple(row) for row in texts.collect()])
