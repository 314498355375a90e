"""Which rows quarantine still keeps out of silver, so that a tie-out can name the reason."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import decisions, delta, lake


def by_entity(spark: SparkSession, folder: Path) -> dict[str, int]:
    """Keys per entity whose last change silver has not as it was captured.

    It is in quarantine, or has left it with a patch; none where a later change was valid, or where
    it was released and applied as it is.
    """
    if not delta.exists(lake.quarantine(folder)):
        return {}
    broken = _kept(spark, folder).groupBy("entity", "key")
    last = broken.agg(F.max("offset").alias("broken_at"))
    arrived = (
        delta.read(spark, lake.bronze(folder))
        .where("value is not null")
        .groupBy("entity", "key")
        .agg(F.max("offset").alias("arrived_at"))
    )
    still = arrived.join(F.broadcast(last), ["entity", "key"]).where("broken_at >= arrived_at")
    return {row.entity: row["count"] for row in still.groupBy("entity").count().collect()}


def _kept(spark: SparkSession, folder: Path) -> DataFrame:
    """The quarantine without what has come out of it as it is."""
    table = delta.read(spark, lake.quarantine(folder))
    out = [
        (row.identity,)
        for entity in decisions.entities(folder)
        for row in decisions.by_state(
            decisions.standing(decisions.all_of(folder, entity)), decisions.APPLIED
        )
        if not row.patch
    ]
    if not out:
        return table
    applied = F.broadcast(spark.createDataFrame(out, "identity string"))
    return table.withColumn("identity", F.expr(decisions.IDENTITY)).join(
        applied, "identity", "left_anti"
    )
