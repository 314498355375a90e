"""The tables of one entity's silver: what is known of the touched keys, and the writes of a build.

Current is written before history, and history's last commit carries the watermark: a build that is
killed in between is made good by the next one, because each write only depends on the changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import delta, delta_log, history, lake, moves, quarantine
from pipelines.delta import Mark
from pipelines.history import OWN_PLACE, Truncates
from pipelines.moves import Move
from schemas.contract import Contract

# The mark on current: the last build that may have changed it.
TICKS = "silver:ticks"
# Above this many changes the touched keys are joined, not broadcast.
BROADCAST_CHANGES = 200_000
# Below these sizes compiling a query takes longer than interpreting it, and one task is enough.
FEW_RECORDS = 20_000
SMALL_TABLE_BYTES = 512 * 1024
# With fewer rows of history for each change than this, finding those of its key does not pay.
EVERYTHING_SHARE = 4
ONE_TASK = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "1"}


@dataclass(frozen=True)
class Batch:
    """Valid changes of one build, how many, and whether some were not carried whole.

    `truncates` are all that the table has seen, `emptied` those of this build; `moved` rows came
    from another key and were not carried whole.
    """

    valid: DataFrame
    rows: int
    partial: bool
    moved: int = 0
    truncates: Truncates | None = None
    emptied: Truncates | None = None


@dataclass(frozen=True)
class Known:
    """What history has of the keys that a build may change; no rows when it has none.

    `touched` are the keys; None when they are all that there are.
    """

    rows: DataFrame | None = None
    is_partial: bool = False
    moves_in_a_row: int = 0
    touched: DataFrame | None = None

    @property
    def is_everything(self) -> bool:
        """Whether these are all rows of history, and there are such."""
        return self.rows is not None and self.touched is None

    def forget(self) -> None:
        """No longer needed; left in the cache they would be planned anew by a write."""
        if self.rows is not None and self.touched is not None:
            self.rows.unpersist()


class SilverTables:
    """Current, history and quarantine of one entity, written by one build."""

    def __init__(self, spark: SparkSession, folder: Path, contract: Contract) -> None:
        self.spark, self.folder, self.contract = spark, folder, contract
        self.current = lake.current(folder, contract)
        self.history = lake.history(folder, contract)
        self.is_few = False

    def expect_few(self, few: bool = True) -> None:
        """Whether the batch is small: then one task, and nothing compiled."""
        self.is_few = few
        for name, value in ONE_TASK.items():
            if few:
                self.spark.conf.set(name, value)
            else:
                self.spark.conf.unset(name)

    def kept_columns(self) -> dict[str, str]:
        """The columns of history and their types; {} before the first build."""
        if not delta.exists(self.history):
            return {}
        fields = delta.read(self.spark, self.history).schema.fields
        return {field.name: field.dataType.simpleString() for field in fields}

    def compile(self, compiled: bool) -> None:
        """Whether Spark compiles the next queries or interprets them."""
        self.spark.conf.set("spark.sql.codegen.wholeStage", str(compiled).lower())
        mode = "FALLBACK" if compiled else "NO_CODEGEN"
        self.spark.conf.set("spark.sql.codegen.factoryMode", mode)

    def write(self, batch: Batch, tick: int, mark: Mark | None) -> int:
        """Put the batch among what is known; how many keys changed."""
        followed = moves.follow(self.spark, self.folder, self.contract, batch.valid, batch.moved)
        past = delta_log.read(self.history)
        is_large = past.bytes > SMALL_TABLE_BYTES
        finds_keys = is_large and past.rows > EVERYTHING_SHARE * batch.rows
        self.compile(is_large or not self.is_few)
        known = self._known(batch, followed) if finds_keys else self._everything(followed)
        self.compile(not self.is_few or (is_large and not finds_keys))
        fill = batch.partial or known.is_partial
        # Settled, not cached: two writes read it, and a MERGE refuses a source that may be evicted.
        states = history.states(
            batch.valid, known.rows, self.contract, fill, batch.truncates, known.moves_in_a_row
        ).localCheckpoint()
        known.forget()
        if batch.emptied is None and batch.rows <= BROADCAST_CHANGES:
            states = states.hint("broadcast")
        changed, gone, first_batch = row(
            states.selectExpr(
                "count_if(_is_current and _has_news)",
                "count_if(_gone)",
                "min(case when _is_new or _is_current then _batch_id end)",
            )
        )
        # Rows that are replaced came with these batches or later ones; but a state that a truncate
        # made may have come with another copy of it.
        within = f"t._batch_id >= {first_batch}" if changed and not batch.truncates else None
        self.compile(is_large or not self.is_few)
        if changed:
            versions = [delta.last_version(path) for path in (self.current, self.history)]
            self._write_current(states, known, tick, within)
            self._write_history(states, known, gone, mark, within)
            for path, before in zip((self.current, self.history), versions, strict=True):
                delta.clean(self.spark, path, before)
        else:
            self.move(mark)
        return int(changed)

    def move(self, mark: Mark | None) -> None:
        """Nothing to apply: move the watermark alone."""
        if mark:
            nothing = self.spark.createDataFrame([], history.ddl(self.contract))
            delta.append(nothing, self.history, mark, **self._history_options())

    def keep(self, broken: DataFrame) -> None:
        """Set aside the changes that broke their contract, each once."""
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

    def _touched(self, batch: Batch) -> DataFrame:
        """The keys whose states this build may change."""
        touched = batch.valid.select(*self.contract.key)
        if batch.emptied is None:
            return F.broadcast(touched) if batch.rows <= BROADCAST_CHANGES else touched
        # A truncate names no key: it concerns those that had a state before it.
        self.expect_few(False)
        past = delta.read(self.spark, self.history)
        alive = past.where(f"not _is_deleted and {batch.emptied.precede(OWN_PLACE)}")
        return touched.union(alive.select(*self.contract.key)).distinct()

    def _everything(self, followed: list[Move]) -> Known:
        """All of history: cheaper than finding the touched keys, of a small table or for many."""
        in_a_row = moves.in_a_row(followed)
        if not delta.exists(self.history):
            return Known(moves_in_a_row=in_a_row)
        return Known(delta.read(self.spark, self.history), True, in_a_row)

    def _known(self, batch: Batch, followed: list[Move]) -> Known:
        """History rows of the touched keys."""
        touched, in_a_row = moves.together(self._touched(batch), followed, self.contract)
        table = delta.read(self.spark, self.history)
        known = table.join(touched, list(self.contract.key), "left_semi").persist()
        rows, unchanged = row(known.selectExpr("count(*)", "coalesce(max(size(_unchanged)), 0)"))
        if rows:
            return Known(known, unchanged > 0, in_a_row, touched)
        known.unpersist()
        return Known(None, False, in_a_row, touched)

    def _write_current(
        self, states: DataFrame, known: Known, tick: int, within: str | None
    ) -> None:
        # States are computed from all that history knows, so none is older than what is here.
        rows = history.last_states(states, self.contract, tick)
        mark = Mark(TICKS, tick)
        # Current is written first: after a kill it may have keys that history has not.
        # Where only what broke the contract has come so far, history is there and current is not.
        if delta.exists(self.current) and (known.rows is not None or self._has(known.touched)):
            delta.upsert(rows, self.current, self.contract.key, mark, within)
        else:
            statistics = (*self.contract.key, "_tick", "_batch_id")
            delta.append(rows, self.current, mark, statistics=statistics, properties=delta.MERGED)

    def _write_history(
        self, states: DataFrame, known: Known, gone: int, mark: Mark | None, within: str | None
    ) -> None:
        names = history.columns(self.contract)
        if known.is_everything:
            delta.rewrite(states.where("not _gone").select(*names), self.history, mark)
            return
        rows = states.where("_is_new").select(*names)
        if gone:
            delta.remove(states.where("_gone"), self.history, self._history_key())
        if known.rows is not None:
            delta.upsert(rows, self.history, self._history_key(), mark, within)
        else:
            delta.append(rows, self.history, mark, **self._history_options())

    def _history_key(self) -> tuple[str, ...]:
        return (*self.contract.key, "_streamed", "_lsn")

    def _history_options(self) -> Mapping[str, Any]:
        """How history is made: no column with personal data has its bounds in the log."""
        statistics = (*self.contract.key, "_batch_id")
        return {"statistics": statistics, "properties": delta.MERGED}

    def _has(self, touched: DataFrame | None) -> bool:
        """Whether current has one of these keys."""
        if touched is None:
            return True
        keys = delta.read(self.spark, self.current).select(*self.contract.key)
        return bool(keys.join(touched, list(self.contract.key), "left_semi").take(1))


def row(frame: DataFrame) -> Any:
    """The one row of a frame that has one."""
    return frame.collect()[0]
