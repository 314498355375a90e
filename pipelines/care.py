"""Care of the tables: few files, no old ones, a short log; and what each table takes.

Every step holds the table's own lock, so it never meets its writer. Rows stay as they are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from pipelines import delta, delta_log
from pipelines import lake as places

# A file below this is read as slowly as it is opened.
SMALL_BYTES = 1024 * 1024
WAIT_S = 60.0


@dataclass(frozen=True)
class Storage:
    """What one table takes. `damage` says why the rest is not known."""

    name: str
    rows: int = 0
    files: int = 0
    small_files: int = 0
    live_bytes: int = 0
    disk_bytes: int = 0
    version: int = delta_log.NEVER
    versions_kept: int = 0
    committed_at: datetime | None = None
    damage: str | None = None


@dataclass(frozen=True)
class Cared:
    """What care did to one table."""

    name: str
    files_before: int
    files_after: int
    bytes_freed: int


def storage(lake: Path) -> list[Storage]:
    """Every table of the lake, without Spark."""
    return [_storage(lake, table) for table in delta_log.tables(lake)]


def care(spark: SparkSession, lake: Path, table: Path, keep_hours: float | None = None) -> Cared:
    """Put small files together, sum the log up, and remove what no kept version needs.

    Old versions are kept as long as the table says, or for `keep_hours` (never less than the
    table says: a reader may still be on one of them).
    """
    with writing(lake, table):
        before, took = delta_log.read(table), delta_log.on_disk(table)
        tidy(spark, table, keep_hours)
        after = delta_log.read(table)
        return Cared(
            name=table.relative_to(lake).as_posix(),
            files_before=len(before.files),
            files_after=len(after.files),
            bytes_freed=took - delta_log.on_disk(table),
        )


@contextmanager
def writing(lake: Path, table: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """The right to write `table`: the one that its own writer takes."""
    # An entity's silver tables are written together, under one lock; so are the read models.
    together = table.parent.parent == places.all_silver(lake) or table.parent == places.projections(
        lake
    )
    with delta.writing(table.parent if together else table, wait_s):
        yield


def tidy(spark: SparkSession, table: Path, keep_hours: float | None = None) -> None:
    """Compaction, a checkpoint of the log, VACUUM."""
    handle = DeltaTable.forPath(spark, str(table))
    handle.optimize().executeCompaction()
    nothing = _nothing(spark)
    log = delta.log_of(spark, table)
    log.checkpointAndCleanUpDeltaLog(log.update(False, nothing, nothing), nothing)
    handle.vacuum(keep_hours)


def swap(
    spark: SparkSession,
    table: Path,
    lost: Sequence[delta_log.DataFile],
    found: Sequence[Mapping[str, Any]],
) -> None:
    """Commit that `lost` files are gone and `found` ones (as `add` actions) are in their place.

    No row counts as new: it is the same content in other files.
    """
    jvm: Any = spark._jvm
    actions = jvm.java.util.ArrayList()
    to_action = jvm.org.apache.spark.sql.delta.actions.Action.fromJson
    for text in (*map(_removed, lost), *map(_added, found)):
        actions.add(to_action(text))
    listed = jvm.scala.jdk.javaapi.CollectionConverters.asScala(actions).toSeq()
    operations = jvm.org.apache.spark.sql.delta.DeltaOperations
    operation = getattr(getattr(operations, "ManualUpdate$"), "MODULE$")
    log = delta.log_of(spark, table)
    nothing = _nothing(spark)
    log.update(False, nothing, nothing)
    log.startTransaction().commit(listed, operation)


def _storage(lake: Path, table: Path) -> Storage:
    name, disk = table.relative_to(lake).as_posix(), delta_log.on_disk(table)
    try:
        state = delta_log.read(table)
    except delta_log.LogDamaged as error:
        return Storage(name, disk_bytes=disk, damage=str(error))
    return Storage(
        name=name,
        rows=state.rows,
        files=len(state.files),
        small_files=sum(file.bytes < SMALL_BYTES for file in state.files.values()),
        live_bytes=state.bytes,
        disk_bytes=disk,
        version=state.version,
        versions_kept=state.version - state.oldest + 1,
        committed_at=state.committed_at,
    )


def _removed(file: delta_log.DataFile) -> str:
    removed = {
        "path": file.added["path"],
        "deletionTimestamp": time.time_ns() // 1_000_000,
        "dataChange": False,
        "extendedFileMetadata": True,
        "partitionValues": dict(file.partition),
        "size": file.bytes,
    }
    return json.dumps({"remove": removed})


def _added(add: Mapping[str, Any]) -> str:
    kept = {k: v for k, v in add.items() if v is not None}
    return json.dumps({"add": kept | {"dataChange": False}})


def _nothing(spark: SparkSession) -> Any:
    jvm: Any = spark._jvm
    return jvm.scala.Option.empty()
