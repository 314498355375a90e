"""The only module that reads or writes tables: append, merge, read, watermarks, one writer a table.

Every write may carry (application, version); Delta commits the pair with the data, so a watermark
moves exactly when its rows do, and a repeated write with a version that is not higher is skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from pipelines import delta_log

NEVER = -1
# Below this a table is rewritten rather than merged into.
REWRITE_BYTES = 4 * 1024 * 1024
# Beyond this many commits the table is asked, not its log.
LOOK_BACK_COMMITS = 200
# Every so many commits small files are put together, and those nobody reads are removed.
CLEAN_EVERY_COMMITS = 64
# Silver can be built anew from bronze, so its old versions are only for readers under way.
SHORT_LIVED = {"delta.deletedFileRetentionDuration": "interval 2 hours"}
# A MERGE marks the rows that it replaces; without, it writes every file anew that has one of them.
MERGED = {**SHORT_LIVED, "delta.enableDeletionVectors": "true"}


class SecondWriter(RuntimeError):
    """Somebody else is writing the table: local Delta is safe with one writer only."""


@dataclass(frozen=True)
class Mark:
    """What a write commits beside its rows: how far `application` has come."""

    application: str
    version: int


@dataclass(frozen=True)
class Added:
    """One file that a commit added: its partition, rows and column bounds, without reading it."""

    version: int
    partition: Mapping[str, str]
    rows: int
    lowest: Mapping[str, Any] = field(default_factory=dict)
    highest: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def writing(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the right to write below `path`; a second writer, thread or process, is refused.

    With `wait_s` it is first given time to finish.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    with open(lock, "a+") as handle:
        if not _locked(handle, wait_s):
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise SecondWriter(
                f"{path} is being written by process {holder}; wait for it or stop it "
                f"(the lock {lock} is free as soon as that process ends)"
            )
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def exists(path: Path) -> bool:
    """Whether a table has been made at `path`."""
    return last_version(path) > NEVER


def last_version(path: Path) -> int:
    """The number of the table's last commit; NEVER when there is no table."""
    names = (name for name in _log_names(path) if name.endswith(".json"))
    return max((int(name[:20]) for name in names if name[:20].isdigit()), default=NEVER)


def size_bytes(path: Path) -> int:
    """What the table's live files take; no Spark job."""
    return delta_log.read(path).bytes


def read(spark: SparkSession, path: Path) -> DataFrame:
    """The table as of its last commit."""
    return spark.read.format("delta").load(str(path))


def append(
    rows: DataFrame,
    path: Path,
    mark: Mark | None = None,
    *,
    partition_by: Sequence[str] = (),
    statistics: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
    note: str | None = None,
) -> int:
    """Add rows in one commit, making the table when there is none; how many were added.

    Skipped (0) when `mark` is not new. `statistics` names the columns whose bounds are kept in the
    log: never one with personal data. `note` is kept with the commit.
    """
    writer = rows.write.format("delta").mode("append").option("mergeSchema", "true")
    writer = writer.options(**properties or {})
    if mark:
        writer = writer.option("txnAppId", mark.application).option("txnVersion", mark.version)
    if note is not None:
        writer = writer.option("userMetadata", note)
    if statistics:
        writer = writer.option("delta.dataSkippingStatsColumns", ",".join(statistics))
    if partition_by:
        writer = writer.partitionBy(*partition_by)
    before = last_version(path)
    writer.save(str(path))
    return _metric(path, before, "numOutputRows")


def replace(rows: DataFrame, path: Path, statistics: Sequence[str] = ()) -> int:
    """Make the table these rows and no others, in one commit; how many they are."""
    writer = rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    before = last_version(path)
    if before == NEVER:
        writer = writer.options(**SHORT_LIVED)
        writer = writer.option("delta.dataSkippingStatsColumns", ",".join(statistics))
    writer.save(str(path))
    return _metric(path, before, "numOutputRows")


def merge(rows: DataFrame, path: Path, on: str, newer: str | None, mark: Mark | None = None) -> int:
    """Insert what `on` does not match (t: table, s: rows), update the matches that are `newer`.

    Returns how many rows were inserted or updated. Without `newer` matches stay as they are. Not
    safe beside another MERGE of the same session: Delta takes the mark of a MERGE from the
    session's configuration.
    """
    spark = rows.sparkSession
    table = DeltaTable.forPath(spark, str(path))
    step = table.alias("t").merge(rows.alias("s"), on).withSchemaEvolution()
    if newer is not None:
        step = step.whenMatchedUpdateAll(newer)
    before = last_version(path)
    with _marked(spark, mark):
        step.whenNotMatchedInsertAll().execute()
    return _metric(path, before, "numTargetRowsInserted", "numTargetRowsUpdated")


def upsert(
    rows: DataFrame,
    path: Path,
    key: Sequence[str],
    mark: Mark | None = None,
    within: str | None = None,
) -> None:
    """Put each row in the place of the one with its key, whichever way is cheaper at this size.

    Rewriting a small table is one pass and several times faster than a MERGE, which joins twice.
    `within` is SQL over the table (t): rows that are replaced are among these, so that a MERGE
    leaves files alone whose bounds say that they have none.
    """
    if size_bytes(path) > REWRITE_BYTES:
        on = " and ".join([f"t.{name} = s.{name}" for name in key] + ([within] if within else []))
        merge(rows, path, on, "true", mark)
        return
    others = read(rows.sparkSession, path).join(rows.select(*key), list(key), "left_anti")
    rewrite(others.unionByName(rows, allowMissingColumns=True), path, mark)


def rewrite(rows: DataFrame, path: Path, mark: Mark | None = None) -> None:
    """Make these rows the table's, in the place of those that it has; columns are only added."""
    cores = rows.sparkSession.sparkContext.defaultParallelism
    writer = rows.coalesce(cores).write.format("delta").mode("overwrite")
    if mark:
        writer = writer.option("txnAppId", mark.application).option("txnVersion", mark.version)
    writer.option("mergeSchema", "true").save(str(path))


def remove(rows: DataFrame, path: Path, key: Sequence[str]) -> None:
    """Take away the rows with these keys."""
    on = " and ".join(f"t.{name} = s.{name}" for name in key)
    table = DeltaTable.forPath(rows.sparkSession, str(path))
    table.alias("t").merge(rows.select(*key).alias("s"), on).whenMatchedDelete().execute()


def watermark(spark: SparkSession, path: Path, application: str) -> int:
    """The highest version that `application` has committed to the table; NEVER when none."""
    for version in range(last_version(path), NEVER, -1):
        actions = _actions(path, version)
        if actions is None:
            return _watermark_of_snapshot(spark, path, application)
        for action in actions:
            transaction = action.get("txn")
            if transaction and transaction["appId"] == application:
                return int(transaction["version"])
    return NEVER


def note_of(path: Path, application: str) -> str | None:
    """What `application` noted in its last commit; None when that is not in the log any more."""
    for version in range(last_version(path), NEVER, -1):
        actions = _actions(path, version)
        if actions is None:
            return None
        if any(a["txn"]["appId"] == application for a in actions if "txn" in a):
            noted = [a["commitInfo"].get("userMetadata") for a in actions if "commitInfo" in a]
            return noted[0] if noted else None
    return None


def marks(spark: SparkSession, path: Path) -> dict[str, int]:
    """How far every application that ever wrote the table has come."""
    found = _snapshot(spark, path).transactions()
    names = found.keysIterator()
    told: dict[str, int] = {}
    while names.hasNext():
        name = names.next()
        told[str(name)] = int(found.apply(name))
    return told


def added_since(path: Path, application: str, version: int) -> list[Added] | None:
    """Files that `application` added beyond `version`, oldest commit first; no Spark job.

    None when that is too far back to look for commit by commit: then the table itself must be read.
    """
    commits: list[list[Added]] = []
    last = last_version(path)
    for commit in range(last, NEVER, -1):
        actions = _actions(path, commit) if last - commit < LOOK_BACK_COMMITS else None
        if actions is None:
            return None
        marks = [a["txn"] for a in actions if "txn" in a]
        own = [int(t["version"]) for t in marks if t["appId"] == application]
        if not own:
            continue
        if own[0] <= version:
            break
        adds = [a["add"] for a in actions if "add" in a and a["add"]["dataChange"]]
        commits.append([_added(own[0], add) for add in adds])
    return [added for commit_files in reversed(commits) for added in commit_files]


def clean(spark: SparkSession, path: Path, before: int, every: int = CLEAN_EVERY_COMMITS) -> None:
    """Make few files of many small ones, and remove those that no kept version needs, now and then.

    Rows stay as they are. It has its turn when the commits since version `before` have passed a
    multiple of `every`, and costs nothing otherwise.
    """
    if before > 0 and before // every != last_version(path) // every:
        table = DeltaTable.forPath(spark, str(path))
        table.optimize().executeCompaction()
        table.vacuum()


def _locked(handle: IO[str], wait_s: float) -> bool:
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(0.05)
        else:
            return True


def _metric(path: Path, before: int, *names: str) -> int:
    """The sum of these numbers of the commit that followed `before`; 0 when none did."""
    infos = [a["commitInfo"] for a in _actions(path, before + 1) or () if "commitInfo" in a]
    metrics = infos[0].get("operationMetrics", {}) if infos else {}
    return sum(int(metrics.get(name, 0)) for name in names)


def _added(version: int, add: Mapping[str, Any]) -> Added:
    statistics = json.loads(add.get("stats") or "{}")
    return Added(
        version=version,
        partition=add["partitionValues"],
        rows=int(statistics.get("numRecords", 0)),
        lowest=statistics.get("minValues", {}),
        highest=statistics.get("maxValues", {}),
    )


def _log_names(path: Path) -> list[str]:
    try:
        return os.listdir(path / "_delta_log")
    except FileNotFoundError:
        return []


def _actions(path: Path, version: int) -> list[dict[str, Any]] | None:
    place = path / "_delta_log" / f"{version:020}.json"
    # Told apart from one that is damaged, which is not passed over.
    return delta_log.commit(place) if place.exists() else None


def _watermark_of_snapshot(spark: SparkSession, path: Path, application: str) -> int:
    # Commits older than the log's retention are only in its checkpoint, which Delta itself reads.
    found = _snapshot(spark, path).transactions().get(application)
    return int(found.get()) if found.isDefined() else NEVER


def log_of(spark: SparkSession, path: Path) -> Any:
    """Delta's own object for the table's log."""
    jvm: Any = spark._jvm
    return jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, str(path))


def _snapshot(spark: SparkSession, path: Path) -> Any:
    jvm: Any = spark._jvm
    nothing = jvm.scala.Option.empty()
    return log_of(spark, path).update(False, nothing, nothing)


@contextmanager
def _marked(spark: SparkSession, mark: Mark | None) -> Iterator[None]:
    names = ("spark.databricks.delta.write.txnAppId", "spark.databricks.delta.write.txnVersion")
    if mark:
        for name, value in zip(names, (mark.application, str(mark.version)), strict=True):
            spark.conf.set(name, value)
    try:
        yield
    finally:
        for name in names:
            spark.conf.unset(name)
