"""Bronze's checkpoint made anew from the table's own last offsets: nothing lost, nothing twice."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import checkpoint, delta, delta_log, lake


@dataclass(frozen=True)
class Recovery:
    """What was done: why, where reading goes on, and where the old checkpoint is now."""

    reason: str
    partitions: int = 0
    next_batch: int = 0
    aside: Path | None = None

    @property
    def was_needed(self) -> bool:
        """Whether there is a new checkpoint."""
        return self.partitions > 0 or self.aside is not None


def recover(spark: SparkSession, folder: Path) -> Recovery:
    """Give bronze a checkpoint that fits it; one that fits already is left alone."""
    table = lake.bronze(folder)
    with delta.writing(table):
        name, last = last_commit(spark, folder)
        try:
            if last == delta.NEVER and delta.exists(table):
                raise checkpoint.CheckpointUnfit("the table has rows of an unknown source")
            checkpoint.require(folder, last, delta.note_of(table, name))
        except checkpoint.CheckpointUnfit as error:
            reason = str(error)
        else:
            return Recovery("the checkpoint fits the table")
        for sums in delta_log.left_behind(table, delta.last_version(table)):
            sums.unlink()
        ends: dict[str, dict[str, int]] = {}
        if delta.exists(table):
            rows = delta.read(spark, table)
            ends = next_offsets(rows)
            last = max(last, rows.agg(F.max("batch_id")).collect()[0][0] or delta.NEVER)
        aside = checkpoint.renew(folder, name or f"bronze:{uuid.uuid4()}", last, ends)
        return Recovery(reason, sum(map(len, ends.values())), last + 1, aside)


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
