"""Records read from Kafka once more, by their places."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Place:
    """Offsets of one partition, from `start` to before `end`."""

    topic: str
    partition: int
    start: int
    end: int


def count(places: Sequence[Place]) -> int:
    """How many offsets that is."""
    return sum(place.end - place.start for place in places)


def beginnings(kafka: str, topics: Iterable[str]) -> dict[str, dict[str, int]]:
    """topic -> partition -> the first offset that Kafka still has."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    existing = admin.list_topics(timeout=TIMEOUT_S).topics
    wanted = {
        TopicPartition(topic, partition): OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        for topic in topics
        if topic in existing
        for partition in existing[topic].partitions
    }
    found: dict[str, dict[str, int]] = {}
    for at, future in admin.list_offsets(wanted, request_timeout=TIMEOUT_S).items():
        found.setdefault(at.topic, {})[str(at.partition)] = future.result().offset
    return found


def refetch(spark: SparkSession, kafka: str, places: Sequence[Place]) -> DataFrame:
    """What Kafka still has of these places, in the columns that bronze is shaped from."""
    starts: dict[str, dict[str, int]] = {}
    ends: dict[str, dict[str, int]] = {}
    for place in places:
        number = str(place.partition)
        first, last = starts.setdefault(place.topic, {}), ends.setdefault(place.topic, {})
        first[number] = min(place.start, first.get(number, place.start))
        last[number] = max(place.end, last.get(number, place.end))
    partitions = {topic: sorted(map(int, numbers)) for topic, numbers in starts.items()}
    records = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("assign", json.dumps(partitions))
        .option("startingOffsets", json.dumps(starts))
        .option("endingOffsets", json.dumps(ends))
        # What is gone is found by counting, and named.
        .option("failOnDataLoss", "false")
        .option("includeHeaders", "true")
        .load()
    )
    wanted = spark.createDataFrame(
        [astuple(place) for place in places],
        "t string, p int, first long, after long",
    )
    inside = (
        (F.col("topic") == F.col("t"))
        & (F.col("partition") == F.col("p"))
        & (F.col("offset") >= F.col("first"))
        & (F.col("offset") < F.col("after"))
    )
    return records.join(F.broadcast(wanted), inside, "left_semi")
