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

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import bronze, cdc, delta, lake, quarantine, releasing, truncates, writer_columns
from pipelines.delta import Mark
from pipelines.filling import INCOMPLETE
from pipelines.silver import CONFORM
from pipelines.silver_tables import FEW_RECORDS, TICKS, Batch, SilverTables, row
from pipelines.visibility import Cut
from schemas.contract import Contract

WriterSchemas = Callable[[int], str | None]
# Shown the judged records of a build after its writes, and the batch they lie beyond.
Witness = Callable[[SparkSession, DataFrame, int], None]

# The mark on history, whose write is a build's last: how far bronze has been taken in.
BATCHES = "silver:batches"
TRUNCATE = "_visible and _op <=> 't' and size(_reasons) = 0"


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
    truncates: int = 0
    # Columns of the source that no contract names: kept in the lake, not published.
    undeclared: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Facts:
    """One pass over the batch: what is in it, and how far the watermark may move."""

    rows: int
    valid: int
    waiting: int
    first_waiting: int | None
    last_batch: int | None
    quarantined: int
    truncates: int
    deleted: int
    partial: bool
    moved: int


def build_silver(
    spark: SparkSession,
    lake_folder: Path,
    contract: Contract,
    cut: Cut,
    writer_schemas: WriterSchemas,
    witness: Witness | None = None,
    again: str | None = None,
) -> SilverResult:
    """Bring one entity's silver tables to the cut. Costs no Spark job when bronze has no news.

    `again` is SQL over bronze's columns: those records are taken once more, instead of the news.
    """
    with delta.writing(lake.silver(lake_folder, contract)):
        # A session of its own: Delta takes the mark of a MERGE from the session's configuration.
        session = spark.newSession()
        build = _Build(session, lake_folder, contract, cut, again)
        news = build.news()
        if news is None:
            return SilverResult(contract.entity, last_batch_id=build.since, tick=build.last_tick)
        # Read several times, so kept; not cached: another thread that plans would go through the
        # plan of a cached one, and its decoder's options must not be evaluated by two at once.
        changes = build.judged(news, writer_schemas).localCheckpoint(eager=False)
        result = build.apply(changes)
        if witness:
            witness(session, changes, build.since)
        return result


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
    def __init__(
        self, spark: SparkSession, folder: Path, contract: Contract, cut: Cut, again: str | None
    ) -> None:
        self.spark, self.folder, self.contract, self.cut = spark, folder, contract, cut
        self.again = again
        self.bronze = lake.bronze(folder)
        self.tables = SilverTables(spark, folder, contract)
        # Of this bronze: one that was loaded anew counts anew, and is read from its start.
        self.batches = f"{BATCHES}:{bronze.source(folder)}"
        self.since = delta.watermark(spark, self.tables.history, self.batches)
        self.last_tick = delta.watermark(spark, self.tables.current, TICKS)
        self.files: list[delta.Added] = []

    def news(self) -> DataFrame | None:
        """Records this build has to take; None when there is none, found without a job."""
        arrived = self._arrived()
        released = releasing.released(
            self.spark, self.folder, self.contract, again=self.since == delta.NEVER
        )
        if released is None:
            return arrived
        # Their schemas are found by reading: the log speaks of bronze only.
        self.files = []
        if arrived is None:
            self.tables.expect_few()
            self.tables.compile(False)
            return released
        return releasing.joined(arrived, released)

    def _arrived(self) -> DataFrame | None:
        """Bronze records beyond the watermark, or those that are to be taken again."""
        if not delta.exists(self.bronze):
            return None
        if self.again:
            return self._beyond(self.again)
        files = delta.added_since(self.bronze, bronze.source(self.folder), self.since)
        if files is None:
            return self._arrived_in_table()
        self.files = [f for f in files if f.partition["entity"] == self.contract.entity]
        if not self.files:
            return None
        if sum(f.rows for f in self.files) <= FEW_RECORDS:
            self.tables.expect_few()
        self.tables.compile(not self.tables.is_few)
        return self._beyond()

    def _arrived_in_table(self) -> DataFrame | None:
        news = self._beyond()
        if news.take(1):
            return news
        # Long quiet: remember how far, so that the next build need not ask the table again.
        last = bronze.last_batch(self.spark, self.folder)
        self.tables.move(Mark(self.batches, last) if last > self.since else None)
        return None

    def _beyond(self, condition: str | None = None) -> DataFrame:
        entity = F.col("entity") == self.contract.entity
        condition = condition or f"batch_id > {self.since}"
        return delta.read(self.spark, self.bronze).where(entity & F.expr(condition))

    def judged(self, news: DataFrame, writer_schemas: WriterSchemas) -> DataFrame:
        values = {i: writer_schemas(i) for i in self._schema_ids(news, "value_schema_id")}
        keys = {i: writer_schemas(i) for i in self._schema_ids(news, "key_schema_id")}
        # What only the source or the table has is carried along, like any other column.
        self.contract = self.tables.contract = writer_columns.with_undeclared(
            self.contract, filter(None, values.values()), self.tables.kept_columns()
        )
        # A plain look-up of schemas knows of no versions before them.
        before = getattr(writer_schemas, "before", None)
        dropped = writer_columns.dropped(self.contract, values, before)
        changes = cdc.changes(news, self.contract, values, keys, self.cut, dropped)
        return quarantine.judge(releasing.patched(changes, self.contract), self.contract)

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
            self.tables.keep(broken)
        # None when the log speaks of rows that somebody has taken away since.
        newest = self.since if facts.last_batch is None else facts.last_batch
        last = self.since if facts.waiting else newest
        if facts.first_waiting is not None:
            last = max(self.since, facts.first_waiting - 1)
        # What comes again may lie beyond the watermark with others before it that have not come.
        last = self.since if self.again else last
        mark = Mark(self.batches, last) if last > self.since else None
        tick = max(self.last_tick + 1, time.time_ns() // 1_000_000)
        changed = 0
        if facts.valid or facts.truncates:
            changed = self.tables.write(self._batch(judged, valid, facts), tick, mark)
        else:
            self.tables.move(mark)
        releasing.settle(self.spark, self.folder, self.contract, judged, tick)
        return SilverResult(
            entity=self.contract.entity,
            rows_in=facts.rows,
            changed=changed,
            quarantined=facts.quarantined,
            deleted=facts.deleted,
            waiting=facts.waiting,
            last_batch_id=last,
            tick=tick if changed else self.last_tick,
            truncates=facts.truncates,
            undeclared=writer_columns.undeclared(self.contract),
        )

    def _batch(self, judged: DataFrame, valid: DataFrame, facts: _Facts) -> Batch:
        conform = CONFORM.get(self.contract.entity)
        valid = conform(valid) if conform else valid
        emptied = None
        if facts.truncates:
            emptied = truncates.keep(self.folder, self.contract, judged.where(TRUNCATE))
        every = truncates.known(self.spark, self.folder, self.contract)
        return Batch(valid, facts.valid, facts.partial, facts.moved, every, emptied)

    def _schema_ids(self, news: DataFrame, column: str) -> list[int]:
        """The ids in the batch: from the log's bounds where they say it, else from the rows."""
        if self.files and all(f.lowest.get(column) == f.highest.get(column) for f in self.files):
            return sorted({f.lowest[column] for f in self.files if column in f.lowest})
        found = news.where(f"{column} is not null").select(column).distinct().collect()
        return sorted(row[0] for row in found)


def _facts(judged: DataFrame) -> _Facts:
    valid = "_visible and _op is not null and _op <> 't' and size(_reasons) = 0"
    rows = judged.selectExpr(
        "count(*)",
        f"count_if({valid})",
        "count_if(not _visible)",
        "min(case when not _visible then _batch_id end)",
        "max(_batch_id)",
        "count_if(_visible and size(_reasons) > 0)",
        f"count_if({TRUNCATE})",
        f"count_if({valid} and _op = 'd')",
        f"coalesce(max(case when {valid} then size(_unchanged) end), 0) > 0",
        f"count_if({valid} and {INCOMPLETE})",
    )
    return _Facts(*row(rows))
