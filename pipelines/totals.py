"""What silver adds up to, in the shape of a cut's totals: rows, and money per currency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import cut, delta, lake
from schemas.contract import Contract


def silver_totals(spark: SparkSession, lake_folder: Path, contract: Contract) -> dict[str, Any]:
    """Rows and sums of the current table, deleted rows left out; exact, as integers."""
    table = lake.current(lake_folder, contract)
    if not delta.exists(table):
        return cut.shaped_totals(contract, [])
    group = "currency" if contract.money else "''"
    # Sums beyond 64 bits are possible in minor units, and must not wrap.
    sums = [f"sum(cast({column} as decimal(38,0))) as {column}" for column in contract.money]
    live = delta.read(spark, table).where("not _is_deleted")
    rows = live.selectExpr(f"{group} as _group", *contract.money).groupBy("_group")
    counted = rows.agg(*(F.expr(text) for text in ["count(*) as _rows", *sums]))
    return cut.shaped_totals(contract, [tuple(row) for row in counted.collect()])
