"""Bronze: every captured record as it arrived, each (topic, partition, offset) exactly once.

Input: all CDC topics and all event topics, by one query that stops when it has read what is there.
Output: one Delta table partitioned by entity. On replay: a batch that was committed is skipped by
Delta, because its commit carries the table's source and the batch's number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from pipelines import checkpoint, delta, lake
from schemas import topics

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
    partitions = _require_topics(bootstrap_servers)
    table = lake.bronze(lake_folder)
    with delta.writing(table):
        before, version = last_batch(spark, lake_folder), delta.last_version(table)
        _require_checkpoint(table, lake_folder, before)
        source_of_records = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", bootstrap_servers)
            .option("subscribe", ",".join(partitions))
            .option("startingOffsets", checkpoint.starting(lake_folder, partitions))
            .option("failOnDataLoss", "true")
            .option("includeHeaders", "true")
            .option("maxOffsetsPerTrigger", records_per_batch)
            .load()
        )
        query = (
            source_of_records.writeStream.queryName("bronze")
            .option("checkpointLocation", str(lake.bronze_checkpoint(lake_folder)))
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
    return delta.watermark(spark, lake.bronze(lake_folder), source(lake_folder))


def source(lake_folder: Path) -> str:
    """The name that commits carry: the same for the table's life, also with a new checkpoint."""
    return checkpoint.source(lake_folder)


def shaped(records: DataFrame, batch_id: int) -> DataFrame:
    """Kafka's records in bronze's columns: bytes untouched, schema ids read from them, pure."""
    entities = ", ".join(f"'{name}', '{entity}'" for name, entity in topics.archived().items())
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
    batch_id = checkpoint.base(lake_folder) + number
    # One task a core, not one a Kafka partition: 36 partitions would leave 36 small files.
    rows = shaped(batch, batch_id).coalesce(cores)
    delta.append(
        rows,
        lake.bronze(lake_folder),
        delta.Mark(source(lake_folder), batch_id),
        partition_by=("entity",),
        statistics=STATISTICS,
        note=checkpoint.plan(lake_folder, batch_id),
    )


def _result(spark: SparkSession, lake_folder: Path, before: int) -> BronzeResult:
    rows: Counter[str] = Counter()
    for added in delta.added_since(lake.bronze(lake_folder), source(lake_folder), before) or ():
        rows[added.partition["entity"]] += added.rows
    return BronzeResult(dict(rows), last_batch(spark, lake_folder))


def _require_topics(bootstrap_servers: str) -> dict[str, list[int]]:
    """The partitions of every topic that bronze reads."""
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
    wanted = topics.archived()
    missing = sorted(set(wanted) - set(known))
    if missing:
        raise BronzeError(
            f"Kafka at {bootstrap_servers} has no topic {', '.join(missing)}: "
            "create the declared topics (`millrace up` does) and run again"
        )
    return {name: sorted(known[name].partitions) for name in sorted(wanted)}


def _require_checkpoint(table: Path, lake_folder: Path, last: int) -> None:
    if last == delta.NEVER and delta.exists(table) and checkpoint.identity(lake_folder) is None:
        raise BronzeError(
            f"{table} has rows but its checkpoint is gone: reading from the start would bring them "
            f"once more. {checkpoint.REMEDY}"
        )
    try:
        checkpoint.require(lake_folder, last, delta.note_of(table, source(lake_folder)))
    except checkpoint.CheckpointUnfit as error:
        raise BronzeError(f"bronze does not read on: {error}") from error


def _explained(error: str) -> str:
    if "data loss" in error.lower() or "failOnDataLoss" in error:
        return (
            "Kafka no longer has records that bronze has not read (retention passed, or the topic "
            "was made again). `millrace lake recover --give-up` reads on with what there is and "
            "writes down what is not; then take a new snapshot of those tables and certify. "
            f"{error}"
        )
    return f"reading Kafka failed: {error}"
