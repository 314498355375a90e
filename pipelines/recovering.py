"""Bronze's checkpoint made anew from the table's own last offsets: nothing lost, nothing twice."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import checkpoint, delta, delta_log, lake
from pipelines.refetching import beginnings
from schemas import topics


@dataclass(frozen=True)
class Recovery:
    """What was done: why, where reading goes on, and where the old checkpoint is now."""

    reason: str
    partitions: int = 0
    next_batch: int = 0
    aside: Path | None = None
    # What Kafka lost before bronze had read it, and that is given up.
    lost: tuple[checkpoint.Lost, ...] = ()

    @property
    def was_needed(self) -> bool:
        """Whether there is a new checkpoint."""
        return self.partitions > 0 or self.aside is not None


def recover(spark: SparkSession, folder: Path, gone_from: str | None = None) -> Recovery:
    """Give bronze a checkpoint that fits it; one that fits already is left alone.

    With `gone_from` (Kafka's address) what Kafka has lost before bronze had read it is given up and
    written down: reading goes on with what there is. The source must be snapshotted afterwards.
    """
    table = lake.bronze(folder)
    with delta.writing(table):
        name, last = last_commit(spark, folder)
        reason = _unfit(folder, name, last)
        ends = next_offsets(delta.read(spark, table)) if delta.exists(table) else {}
        if reason is None:
            # It may stand before records of partitions that bronze has nothing of yet.
            for topic, planned in checkpoint.planned_ends(folder).items():
                ends[topic] = {**planned, **ends.get(topic, {})}
        lost = _lost(gone_from, ends) if gone_from else []
        if reason is None and not lost:
            return Recovery("the checkpoint fits the table")
        for sums in delta_log.left_behind(table, delta.last_version(table)):
            sums.unlink()
        if delta.exists(table):
            found = delta.read(spark, table).agg(F.max("batch_id")).collect()[0][0]
            last = max(last, delta.NEVER if found is None else found)
        checkpoint.give_up(folder, lost)
        for topic, partition, _, first in lost:
            ends.setdefault(topic, {})[str(partition)] = first
        aside = checkpoint.renew(folder, name or f"bronze:{uuid.uuid4()}", last, ends)
        because = reason or "Kafka has lost records that bronze had not read"
        return Recovery(because, sum(map(len, ends.values())), last + 1, aside, tuple(lost))


def last_commit(spark: SparkSession, folder: Path) -> tuple[str, int]:
    """The name that bronze's batches were committed under, and the last of them."""
    marks = delta.marks(spark, lake.bronze(folder)) if delta.exists(lake.bronze(folder)) else {}
    own = {name: batch for name, batch in marks.items() if name.startswith("bronze:")}
    if not own:
        return "", delta.NEVER
    name = max(own, key=lambda candidate: own[candidate])
    return name, own[name]


def next_offsets(rows: DataFrame) -> dict[str, dict[str, int]]:
    """topic -> partition -> the offset after the last that the table has."""
    ends: dict[str, dict[str, int]] = {}
    for row in rows.groupBy("topic", "partition").agg(F.max("offset")).collect():
        ends.setdefault(row[0], {})[str(row[1])] = row[2] + 1
    return ends


def _unfit(folder: Path, name: str, last: int) -> str | None:
    """Why the checkpoint does not fit; None when it does."""
    table = lake.bronze(folder)
    if last == delta.NEVER and delta.exists(table):
        return "the table has rows of an unknown source"
    try:
        checkpoint.require(folder, last, delta.note_of(table, name))
    except checkpoint.CheckpointUnfit as error:
        return str(error)
    return None


def _lost(kafka: str, ends: dict[str, dict[str, int]]) -> list[checkpoint.Lost]:
    """What lies between bronze's last offset and the first that Kafka still has."""
    found = []
    for topic, firsts in beginnings(kafka, topics.archived()).items():
        for number, first in firsts.items():
            # Of a partition that was never read, the next offset is the first that there ever was.
            read_to = ends.get(topic, {}).get(number, 0)
            if first > read_to:
                found.append((topic, int(number), read_to, first))
    return found
