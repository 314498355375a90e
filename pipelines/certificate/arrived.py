"""What bronze holds of every table, found in one look: rows, writer schemas, and sound offsets.

Input: bronze. Output: per entity how many records there are and by which schemas they were written,
and a break wherever an offset is there twice or left out. One Spark job for all tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import delta, lake
from pipelines.certificate.drilling import DUPLICATED, MISSING, Break
from schemas.contract import Contract


@dataclass(frozen=True)
class Arrived:
    """One entity's part of bronze."""

    rows: int = 0
    value_ids: frozenset[int] = frozenset()
    key_ids: frozenset[int] = frozenset()
    # Each (topic, partition, offset) is to be there once, and none in between left out.
    breaks: tuple[Break, ...] = ()


def look(spark: SparkSession, folder: Path, contracts: Iterable[Contract]) -> dict[str, Arrived]:
    """Entity -> what bronze has of it; entities without a record are left out."""
    if not delta.exists(lake.bronze(folder)):
        return {}
    topics = {contract.entity: contract.topic for contract in contracts}
    rows = delta.read(spark, lake.bronze(folder)).where(F.col("entity").isin(list(topics)))
    found: dict[str, Arrived] = {}
    for entity, topic, partition, count, different, first, last, values, keys in (
        rows.groupBy("entity", "topic", "partition")
        .agg(
            F.count("*"),
            F.count_distinct("offset"),
            F.min("offset"),
            F.max("offset"),
            F.collect_set("value_schema_id"),
            F.collect_set("key_schema_id"),
        )
        .collect()
    ):
        one = found.get(entity, Arrived())
        place = f"{topic}:{partition} offsets {first} .. {last}"
        wrong = ((DUPLICATED, count - different), (MISSING, last - first + 1 - different))
        breaks = [
            Break(entity, "bronze", kind, records, place, place, 0, 0)
            for kind, records in wrong
            if records and topic == topics[entity]
        ]
        found[entity] = replace(
            one,
            rows=one.rows + count,
            value_ids=one.value_ids | set(values),
            key_ids=one.key_ids | set(keys),
            breaks=(*one.breaks, *breaks),
        )
    return found
