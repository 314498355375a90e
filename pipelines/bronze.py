"""Bronze: every captured record as it arrived, each (topic, partition, offset) exactly once.

Input: all CDC topics, by one query that stops when it has read what is there. Output: one Delta
table partitioned by entity. On replay: a batch that was committed is skipped by Delta, because its
commit carries the checkpoint's id and the batch's number.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from pipelines import delta, lake
from schemas import contract, topics

BROKER_TIMEOUT_S = 10.0
# Bounds the memory of a catch-up; a batch beyond it is split.
RECORDS_PER_BATCH = 500_000
# Bounds of these are kept in the log: silver finds its batches and schema ids without a scan.
STATISTICS = ("batch_id", "partition", "offset", "key_schema_id", "value_schema_id")

_SCHEMA_ID = (
    "case when length({0}) > 5 and substring({0}, 1, 1) = X'00'"
    " then cast(conv(hex(substring({0}, 2, 4)), 16, 10) as int) end"
)


class BronzeError(RuntimeError):
    """Bronze cannot read on; the message says what is wrong and what to do. Nothing was lost."""


@dataclass(frozen=True)
class BronzeResult:
    """What one run added: rows per entity, and the last batch in the table (NEVER when empty)."""

    rows: dict[str, int]
    last_batch_id: int


def ingest(
    spark: SparkSession,
    lake_folder: Path,
    bootstrap_servers: str,
    records_per_batch: int = RECORDS_PER_BATCH,
) -> BronzeResult:
    """Append everything that Kafka has and bronze has not. Cheap when there is nothing."""
    _require_topics(bootstrap_servers)
    table, checkpoint = lake.bronze(lake_folder), lake.bronze_checkpoint(lake_folder)
    with delta.writing(table):
        _require_checkpoint(table, checkpoint)
        before, version = last_batch(spark, lake_folder), delta.last_version(table)
        source = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", bootstrap_servers)
            .option("subscribe", ",".join(topics.captured()))
            .option("startingOffsets", "earliest")
            .option("failOnDataLoss", "true")
            .option("includeHeaders", "true")
            .option("maxOffsetsPerTrigger", records_per_batch)
            .load()
        )
        query = (
            source.writeStream.queryName("bronze")
            .option("checkpointLocation", str(checkpoint))
            .trigger(availableNow=True)
            .foreachBatch(lambda batch, number: _write(batch, number, lake_folder))
            .start()
        )
        try:
            query.awaitTermination()
        except StreamingQueryException as error:
            raise BronzeError(_explained(str(error))) from error
        result = _result(spark, lake_folder, before)
        if result.rows:
            delta.clean(spark, table, version)
        return result


def last_batch(spark: SparkSession, lake_folder: Path) -> int:
    """The last batch in the table; NEVER when there is none."""
    if not (lake.bronze_checkpoint(lake_folder) / "metadata").exists():
        return delta.NEVER
    return delta.watermark(spark, lake.bronze(lake_folder), source(lake_folder))


def source(lake_folder: Path) -> str:
    """The name that commits carry: a new checkpoint counts batches anew, so it has another one."""
    metadata = lake.bronze_checkpoint(lake_folder) / "metadata"
    identity = json.loads(metadata.read_text(encoding="utf-8"))["id"] if metadata.exists() else ""
    return f"bronze:{identity}"


def shaped(records: DataFrame, batch_id: int) -> DataFrame:
    """Kafka's records in bronze's columns: bytes untouched, schema ids read from them, pure."""
    entities = ", ".join(f"'{c.topic}', '{c.entity}'" for c in contract.load_all())
    return records.selectExpr(
        f"element_at(map({entities}), topic) as entity",
        "topic",
        "partition",
        "offset",
        "key",
        "value",
        "headers",
        "timestamp as kafka_timestamp",
        f"{_SCHEMA_ID.format('key')} as key_schema_id",
        f"{_SCHEMA_ID.format('value')} as value_schema_id",
        f"{batch_id}L as batch_id",
        "current_timestamp() as ingested_at",
    )


def _write(batch: DataFrame, number: int, lake_folder: Path) -> None:
    cores = batch.sparkSession.sparkContext.defaultParallelism
    # One task a core, not one a Kafka partition: 36 partitions would leave 36 small files.
    rows = shaped(batch, number).coalesce(cores)
    mark = delta.Mark(source(lake_folder), number)
    table = lake.bronze(lake_folder)
    delta.append(rows, table, mark, partition_by=("entity",), statistics=STATISTICS)


def _result(spark: SparkSession, lake_folder: Path, before: int) -> BronzeResult:
    rows: Counter[str] = Counter()
    for added in delta.added_since(lake.bronze(lake_folder), source(lake_folder), before) or ():
        rows[added.partition["entity"]] += added.rows
    return BronzeResult(dict(rows), last_batch(spark, lake_folder))


def _require_topics(bootstrap_servers: str) -> None:
    quiet: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
    }
    try:
        known = AdminClient(quiet).list_topics(timeout=BROKER_TIMEOUT_S).topics
    except KafkaException as error:
        raise BronzeError(
            f"no Kafka broker answers at {bootstrap_servers} ({error.args[0].str()}): "
            "start it (`millrace up`) and run again"
        ) from error
    missing = sorted(set(topics.captured()) - set(known))
    if missing:
        raise BronzeError(
            f"Kafka at {bootstrap_servers} has no topic {', '.join(missing)}: "
            "create the declared topics (`millrace up` does) and run again"
        )


def _require_checkpoint(table: Path, checkpoint: Path) -> None:
    if delta.exists(table) and not (checkpoint / "metadata").exists():
        raise BronzeError(
            f"{table} has rows but its checkpoint {checkpoint} is gone: reading from the start "
            "would add them twice. Restore the checkpoint, or move both away to load bronze anew"
        )


def _explained(error: str) -> str:
    if "data loss" in error.lower() or "failOnDataLoss" in error:
        return (
            "Kafka no longer has records that bronze has not read (retention passed, or the topic "
            f"was made again): take a new snapshot of the source, then reconcile. {error}"
        )
    return f"reading Kafka failed: {error}"
