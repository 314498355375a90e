"""Silver from bronze, one entity: what is current, what was when, and what broke the contract.

Input: bronze records beyond the entity's watermark, as far as they belong to the cut. Output: the
tables current, history and quarantine. On replay, or after a kill between two writes: the same
rows again, which change nothing, because each write is guarded by the order of changes and the
watermark moves in the last of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import bronze, cdc, delta, history, lake, quarantine
from pipelines.delta import Mark
from pipelines.silver import CONFORM
from pipelines.visibility import Cut
from schemas.contract import Contract

WriterSchemas = Callable[[int], str | None]

# Marks: how far bronze has been taken in (on history, written last), and the last build of current.
BATCHES = "silver:batches"
TICKS = "silver:ticks"
# Above this many changes the touched keys are joined, not broadcast.
BROADCAST_CHANGES = 200_000
# Below these sizes compiling a query takes longer than interpreting it, and one task is enough.
FEW_RECORDS = 20_000
SMALL_TABLE_BYTES = 512 * 1024
ONE_TASK = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "1"}


@dataclass(frozen=True)
class SilverResult:
    """What one build did. `waiting` records are read again by the next build."""

    entity: str
    rows_in: int = 0
    changed: int = 0
    quarantined: int = 0
    deleted: int = 0
    waiting: int = 0
    last_batch_id: int = delta.NEVER
    tick: int = delta.NEVER


@dataclass(frozen=True)
class _Facts:
    """One pass over the batch: what is in it, and how far the watermark may move."""

    rows: int
    valid: int
    waiting: int
    first_waiting: int | None
    last_batch: int
    quarantined: int
    truncates: int
    deleted: int
    partial: bool


def build_silver(
    spark: SparkSession,
    lake_folder: Path,
    contract: Contract,
    cut: Cut,
    writer_schemas: WriterSchemas,
) -> SilverResult:
    """Bring one entity's silver tables to the cut. Costs no Spark job when bronze has no news."""
    with delta.writing(lake.silver(lake_folder, contract)):
        # A session of its own: Delta takes the mark of a MERGE from the session's configuration.
        session = spark.newSession()
        build = _Build(session, lake_folder, contract, cut)
        news = build.news()
        if news is None:
            return SilverResult(contract.entity, last_batch_id=build.since, tick=build.last_tick)
        changes = build.judged(news, writer_schemas).persist()
        try:
            return build.apply(changes)
        finally:
            changes.unpersist()


def build_all(
    spark: SparkSession,
    lake_folder: Path,
    contracts: Iterable[Contract],
    cut: Cut,
    writer_schemas: WriterSchemas,
    *,
    workers: int = 2,
) -> dict[str, SilverResult]:
    """`build_silver` for several entities, some at a time: one plans while another computes."""
    with ThreadPoolExecutor(workers, thread_name_prefix="silver") as pool:
        builds = {
            c.entity: pool.submit(build_silver, spark, lake_folder, c, cut, writer_schemas)
            for c in contracts
        }
        return {entity: build.result() for entity, build in builds.items()}


def last_tick(spark: SparkSession, lake_folder: Path, contract: Contract) -> int:
    """The last build that may have changed the current table; NEVER before the first."""
    return delta.watermark(spark, lake.current(lake_folder, contract), TICKS)


class _Build:
    def __init__(self, spark: SparkSession, folder: Path, contract: Contract, cut: Cut) -> None:
        self.spark, self.folder, self.contract, self.cut = spark, folder, contract, cut
        self.bronze = lake.bronze(folder)
        self.current = lake.current(folder, contract)
        self.history = lake.history(folder, contract)
        # Of this bronze: one that was loaded anew counts anew, and is read from its start.
        self.batches = f"{BATCHES}:{bronze.source(folder)}"
        self.since = delta.watermark(spark, self.history, self.batches)
        self.last_tick = delta.watermark(spark, self.current, TICKS)
        self.is_few = False

    def news(self) -> DataFrame | None:
        """Bronze records beyond the watermark; None when there is none, found without a job."""
        if not delta.exists(self.bronze):
            return None
        files = delta.added_since(self.bronze, bronze.source(self.folder), self.since)
        if files is None:
            return self._news_of_table()
        self.files = [f for f in files if f.partition["entity"] == self.contract.entity]
        if not self.files:
            return None
        if sum(f.rows for f in self.files) <= FEW_RECORDS:
            self.is_few = True
            for name, value in ONE_TASK.items():
                self.spark.conf.set(name, value)
        self._compile(not self.is_few)
        return self._beyond()

    def _news_of_table(self) -> DataFrame | None:
        self.files = []
        news = self._beyond()
        if news.take(1):
            return news
        # Long quiet: remember how far, so that the next build need not ask the table again.
        last = bronze.last_batch(self.spark, self.folder)
        self._pass(Mark(self.batches, last) if last > self.since else None)
        return None

    def _beyond(self) -> DataFrame:
        return delta.read(self.spark, self.bronze).where(
            (F.col("entity") == self.contract.entity) & (F.col("batch_id") > self.since)
        )

    def judged(self, news: DataFrame, writer_schemas: WriterSchemas) -> DataFrame:
        values = {i: writer_schemas(i) for i in self._schema_ids(news, "value_schema_id")}
        keys = {i: writer_schemas(i) for i in self._schema_ids(news, "key_schema_id")}
        changes = cdc.changes(news, self.contract, values, keys, self.cut)
        return quarantine.judge(changes, self.contract)

    def apply(self, judged: DataFrame) -> SilverResult:
        facts = _facts(judged)
        if facts.truncates and self.contract.money:
            raise quarantine.TruncateRefused(
                f"{self.contract.source} was truncated at the source ({facts.truncates} events) "
                "and holds money: silver keeps its rows and stops here. Reconcile it with the "
                "source, then remove the event from bronze on purpose"
            )
        valid, broken = quarantine.split(judged.where("_visible"))
        if facts.quarantined:
            self._keep(broken)
        last = self.since if facts.waiting else facts.last_batch
        if facts.first_waiting is not None:
            last = max(self.since, facts.first_waiting - 1)
        mark = Mark(self.batches, last) if last > self.since else None
        tick = max(self.last_tick + 1, time.time_ns() // 1_000_000)
        changed = 0
        if facts.valid:
            changed = self._write(valid, facts, tick, mark)
        else:
            self._pass(mark)
        return SilverResult(
            entity=self.contract.entity,
            rows_in=facts.rows,
            changed=changed,
            quarantined=facts.quarantined,
            deleted=facts.deleted,
            waiting=facts.waiting,
            last_batch_id=last,
            tick=tick if changed else self.last_tick,
        )

    def _write(self, valid: DataFrame, facts: _Facts, tick: int, mark: Mark | None) -> int:
        conform = CONFORM.get(self.contract.entity)
        valid = conform(valid) if conform else valid
        touched = valid.select(*self.contract.key)
        if facts.valid <= BROADCAST_CHANGES:
            touched = F.broadcast(touched)
        is_large = delta.size_bytes(self.spark, self.history) > SMALL_TABLE_BYTES
        self._compile(is_large or not self.is_few)
        known, known_rows, known_partial = self._known(touched)
        fill = facts.partial or known_partial
        self._compile(not self.is_few)
        # Settled, not cached: two writes read it, and a MERGE refuses a source that may be evicted.
        states = history.states(valid, known, self.contract, fill).localCheckpoint()
        # No longer needed; left in the cache it would be planned anew by the write to its table.
        if known is not None:
            known.unpersist()
        if facts.valid <= BROADCAST_CHANGES:
            states = states.hint("broadcast")
        (changed,) = _row(states.selectExpr("count_if(_is_current and _has_news)"))
        self._compile(is_large or not self.is_few)
        if changed:
            versions = [delta.last_version(path) for path in (self.current, self.history)]
            self._write_current(states, touched, known_rows > 0, tick)
            self._write_history(states, known_rows > 0, mark)
            for path, before in zip((self.current, self.history), versions, strict=True):
                delta.clean(self.spark, path, before)
        else:
            self._pass(mark)
        return int(changed)

    def _known(self, touched: DataFrame) -> tuple[DataFrame | None, int, bool]:
        """History rows of the touched keys, how many, and whether any was not carried whole."""
        if not delta.exists(self.history):
            return None, 0, False
        table = delta.read(self.spark, self.history)
        known = table.join(touched, list(self.contract.key), "left_semi").persist()
        rows, partial = _row(known.selectExpr("count(*)", "coalesce(max(size(_unchanged)), 0)"))
        return (known, rows, partial > 0) if rows else (known.unpersist(), 0, False)

    def _write_current(
        self, states: DataFrame, touched: DataFrame, is_known: bool, tick: int
    ) -> None:
        # States are computed from all that history knows, so none is older than what is here.
        rows = history.last_states(states, self.contract, tick)
        mark = Mark(TICKS, tick)
        # Current is written first: after a kill it may have keys that history has not.
        if is_known or self._has_current(touched):
            delta.upsert(rows, self.current, self.contract.key, mark)
        else:
            statistics = (*self.contract.key, "_tick", "_batch_id")
            delta.append(
                rows, self.current, mark, statistics=statistics, properties=delta.SHORT_LIVED
            )

    def _write_history(self, states: DataFrame, is_known: bool, mark: Mark | None) -> None:
        rows = states.where("_is_new").select(*history.columns(self.contract))
        if is_known:
            delta.upsert(rows, self.history, (*self.contract.key, "_streamed", "_lsn"), mark)
        else:
            statistics = (*self.contract.key, "_batch_id")
            delta.append(
                rows, self.history, mark, statistics=statistics, properties=delta.SHORT_LIVED
            )

    def _pass(self, mark: Mark | None) -> None:
        """Nothing to apply: move the watermark alone."""
        if mark:
            typed = {c.name: cdc.sql_type(c) for c in self.contract.columns} | cdc.TECHNICAL
            ddl = ", ".join(f"`{name}` {kind}" for name, kind in typed.items())
            ddl += ", _unchanged array<string>, _valid_from timestamp, _valid_to timestamp"
            nothing = self.spark.createDataFrame([], f"{ddl}, _is_current boolean")
            delta.append(nothing, self.history, mark, properties=delta.SHORT_LIVED)

    def _keep(self, broken: DataFrame) -> None:
        table = lake.quarantine(self.folder)
        rows = quarantine.records(broken, self.contract)
        with delta.writing(table, wait_s=60):
            if not delta.exists(table):
                statistics = ("partition", "offset", "batch_id")
                delta.append(rows, table, partition_by=("entity",), statistics=statistics)
                return
            on = (
                f"t.entity = '{self.contract.entity}' and t.topic = s.topic"
                " and t.partition = s.partition and t.offset = s.offset"
            )
            delta.merge(rows, table, on, newer=None)

    def _has_current(self, touched: DataFrame) -> bool:
        if not delta.exists(self.current):
            return False
        keys = delta.read(self.spark, self.current).select(*self.contract.key)
        return bool(keys.join(touched, list(self.contract.key), "left_semi").take(1))

    def _compile(self, compiled: bool) -> None:
        self.spark.conf.set("spark.sql.codegen.wholeStage", str(compiled).lower())
        mode = "FALLBACK" if compiled else "NO_CODEGEN"
        self.spark.conf.set("spark.sql.codegen.factoryMode", mode)

    def _schema_ids(self, news: DataFrame, column: str) -> list[int]:
        """The ids in the batch: from the log's bounds where they say it, else from the rows."""
        if self.files and all(f.lowest.get(column) == f.highest.get(column) for f in self.files):
            return sorted({f.lowest[column] for f in self.files if column in f.lowest})
        found = news.where(f"{column} is not null").select(column).distinct().collect()
        return sorted(row[0] for row in found)


def _facts(judged: DataFrame) -> _Facts:
    valid = "_visible and _op is not null and size(_reasons) = 0"
    rows = judged.selectExpr(
        "count(*)",
        f"count_if({valid})",
        "count_if(not _visible)",
        "min(case when not _visible then _batch_id end)",
        "max(_batch_id)",
        "count_if(_visible and size(_reasons) > 0)",
        "count_if(_visible and _problem <=> 'truncate')",
        f"count_if({valid} and _op = 'd')",
        f"coalesce(max(case when {valid} then size(_unchanged) end), 0) > 0",
    )
    return _Facts(*_row(rows))


def _row(frame: DataFrame) -> Any:
    return frame.collect()[0]
