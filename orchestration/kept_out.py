"""Which rows quarantine still keeps out of silver, so that a tie-out can name the reason."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import delta, lake


def by_entity(spark: SparkSession, folder: Path) -> dict[str, int]:
    """Keys per entity whose last change is in quarantine; none where a later change was valid."""
    if not delta.exists(lake.quarantine(folder)):
        return {}
    broken = delta.read(spark, lake.quarantine(folder)).groupBy("entity", "key")
    last = broken.agg(F.max("offset").alias("broken_at"))
    arrived = (
        delta.read(spark, lake.bronze(folder))
        .where("value is not null")
        .groupBy("entity", "key")
        .agg(F.max("offset").alias("arrived_at"))
    )
    still = arrived.join(F.broadcast(last), ["entity", "key"]).where("broken_at >= arrived_at")
    return {row.entity: row["count"] for row in still.groupBy("entity").count().collect()}
