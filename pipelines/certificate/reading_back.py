"""A table of silver as it lies there, read by the files that its log names: planned without a job.

Delta would load its own state of each version that a build has just written, to find the few files
that a window is in. The log says the same in a few lines.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from pipelines import cdc, delta, delta_log
from pipelines.delta_log import DataFile, TableState
from pipelines.silver_tables import FEW_RECORDS, SilverTables
from schemas.contract import Contract

BATCH = "_batch_id"
# Reading that files alone do not tell is left to Delta.
_MAPPED = "delta.columnMapping.mode"


def rows(
    spark: SparkSession, table: Path, contract: Contract, beyond: int | None = None
) -> DataFrame:
    """The rows of the table now; files without a row of a batch after `beyond` may be left out.

    A column that the contract has and no change has carried yet is null.
    """
    state = delta_log.read(table)
    if not _is_plain(state):
        found = delta.read(spark, table)
        missing = [c for c in contract.columns if c.name not in found.columns]
        nothing = [f"cast(null as {cdc.sql_type(c)}) as `{c.name}`" for c in missing]
        return found.selectExpr("*", *nothing)
    schema = T.StructType.fromJson(json.loads(state.schema))
    for column in contract.columns:
        if column.name not in schema.names:
            schema.add(column.name, T.DataType.fromDDL(cdc.sql_type(column)))
    files = [str(table / f.path) for f in state.files.values() if _may_have(f, beyond)]
    if not files:
        return spark.createDataFrame([], schema)
    # A file from before a column has nulls there.
    return spark.read.schema(schema).parquet(*files)


def session(spark: SparkSession, folder: Path, contract: Contract, records: int) -> SparkSession:
    """One of its own that plans for so many records: of few, one task interprets a query."""
    own = spark.newSession()
    tables = SilverTables(own, folder, contract)
    tables.expect_few(records <= FEW_RECORDS)
    tables.compile(records > FEW_RECORDS)
    return own


def _is_plain(state: TableState) -> bool:
    return (
        bool(state.schema)
        and not state.partitioned_by
        and state.properties.get(_MAPPED, "none") == "none"
        and not any(
            f.added.get("deletionVector") or f.path.startswith(("/", "file:"))
            for f in state.files.values()
        )
    )


def _may_have(file: DataFile, beyond: int | None) -> bool:
    last = file.statistics.get("maxValues", {}).get(BATCH)
    return beyond is None or last is None or int(last) > beyond
