"""What the lake holds of one entity's window, read back from its tables as it lies there.

Input: the records that a build has judged, and its tables after the build. Output: Evidence. A
window is everything visible in the cut and not in the one that was agreed before; its rows lie in
few files, because bronze, history and current keep the bounds of their batch numbers in the log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import (
    bronze,
    cdc,
    checkpoint,
    delta,
    lake,
    publish,
    quarantine,
    refresh,
    writer_columns,
)
from pipelines.certificate import canonical, reading_back, tallying
from pipelines.certificate.comparing import Evidence
from pipelines.certificate.comparing_sums import Tallied
from pipelines.certificate.drilling import Arrival, Change
from pipelines.silver import CONFORM
from pipelines.visibility import Cut, as_sql
from schemas.contract import Contract

T = TypeVar("T")
CHANGES = "('c', 'u', 'd')"
# Windows of more changes are compared by sums.
ROWS_BROUGHT = 20_000
# A change has a row in bronze, history and current.
HOPS_BROUGHT = 3
_PARTITION, _OFFSET, _IS_KEPT_OUT, _IS_UNREADABLE, _IS_MOVED, _IS_LAST, _IS_NEW = range(
    list(tallying.FIELDS).index("partition"), len(tallying.FIELDS)
)


@dataclass(frozen=True)
class Window:
    """From one agreed cut to another, and the bronze batches that silver had taken in at the first.

    Rows of the window are in later batches: a build goes back to the first that it had to leave.
    """

    agreed: Cut
    cut: Cut
    after_batch: int
    # The same for what the warehouse showed when it was compared last.
    shown_after_batch: int
    # The last batch of bronze at the first cut.
    last_batch: int


def evidence(
    spark: SparkSession,
    folder: Path,
    contract: Contract,
    judged: DataFrame,
    window: Window,
    limit: int = ROWS_BROUGHT,
) -> Evidence | Tallied:
    """Everything the lake holds of the window. `judged` are its records, as a build reads them.

    One Spark job brings the rows of up to `limit` changes; of a larger window sums are brought.
    """
    lying = Lying(spark, folder, contract, window)
    arrivals = lying.arrived(judged)
    if not lying.is_large(limit):
        found = _brought(contract, lying.every(judged, arrivals), limit)
        if found is not None:
            return found

    def some(buckets: Sequence[int]) -> Evidence:
        marked = lying.arrived(judged, with_moves=True)
        rows = tallying.of_buckets(lying.every(judged, marked), buckets)
        return _brought(contract, rows) or Evidence(contract.entity)

    sums = tallying.tallied(arrivals, lying.expected(judged), lying.states())
    return Tallied(contract.entity, sums, some, lying.shown_after)


def records(
    spark: SparkSession,
    folder: Path,
    contract: Contract,
    window: Window,
    schemas: refresh.WriterSchemas,
) -> DataFrame:
    """Bronze's records of the window, read and judged once more."""
    table = delta.read(spark, lake.bronze(folder))
    own = table.where(
        (F.col("entity") == contract.entity) & (F.col("batch_id") > window.after_batch)
    )
    return _judged(own, contract, window.cut, schemas)


def log(
    spark: SparkSession,
    folder: Path,
    kafka: str,
    contract: Contract,
    window: Window,
    schemas: refresh.WriterSchemas,
) -> InKafka:
    """The window's records in Kafka, as far as bronze has read."""
    return InKafka(lambda: _in_kafka(spark, folder, kafka, contract, window, schemas))


class InKafka:
    """What the log holds of the window, read when it is first asked. None: it is let go of."""

    def __init__(self, read: Callable[[], DataFrame | None]) -> None:
        self._read = read
        self._frame: DataFrame | None = None

    def arrivals(self, buckets: Sequence[int] | None = None) -> list[Arrival] | None:
        """Every record, or those of some buckets."""
        return self._asked(
            lambda frame: _arrivals(
                frame if buckets is None else tallying.of_buckets(frame, buckets)
            )[0]
        )

    def sums(self) -> tallying.Sums | None:
        """The same as sums, as tallying.tallied has them."""
        return self._asked(lambda frame: tallying.tallied(frame, None, None))

    def _asked(self, ask: Callable[[DataFrame], T]) -> T | None:
        try:
            if self._frame is None:
                self._frame = self._read()
            return None if self._frame is None else ask(self._frame)
        except PySparkException:
            return None


def _in_kafka(
    spark: SparkSession,
    folder: Path,
    kafka: str,
    contract: Contract,
    window: Window,
    schemas: refresh.WriterSchemas,
) -> DataFrame | None:
    ends = checkpoint.planned_ends(folder).get(contract.topic, {})
    if not ends:
        return None
    own = delta.read(spark, lake.bronze(folder)).where(
        (F.col("entity") == contract.entity) & (F.col("batch_id") <= window.after_batch)
    )
    read = {str(p): o + 1 for p, o in own.groupBy("partition").agg(F.max("offset")).collect()}
    starts = {p: min(read.get(p, checkpoint.EARLIEST), end) for p, end in ends.items()}
    there = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("assign", json.dumps({contract.topic: sorted(map(int, ends))}))
        .option("startingOffsets", json.dumps({contract.topic: starts}))
        .option("endingOffsets", json.dumps({contract.topic: ends}))
        .option("includeHeaders", "true")
        .option("failOnDataLoss", "true")
        .load()
    )
    shaped = bronze.shaped(there, window.after_batch + 1).where(F.col("entity") == contract.entity)
    judged = _judged(shaped.localCheckpoint(), contract, window.cut, schemas)
    return Lying(spark, folder, contract, window).arrived(judged, with_moves=True)


def _judged(
    records_of_bronze: DataFrame, contract: Contract, cut: Cut, schemas: refresh.WriterSchemas
) -> DataFrame:
    ids = {
        name: [r[0] for r in records_of_bronze.select(name).where(f"{name} is not null").distinct()
               .collect()]
        for name in ("value_schema_id", "key_schema_id")
    }  # fmt: skip
    values = {i: schemas(i) for i in ids["value_schema_id"]}
    keys = {i: schemas(i) for i in ids["key_schema_id"]}
    dropped = writer_columns.dropped(contract, values, getattr(schemas, "before", None))
    changes = cdc.changes(records_of_bronze, contract, values, keys, cut, dropped)
    return quarantine.judge(changes, contract)


class Lying:
    """The parts of a window as frames of one shape (FIELDS), so that one job reads them all."""

    def __init__(
        self, spark: SparkSession, folder: Path, contract: Contract, window: Window
    ) -> None:
        self.spark, self.folder, self.contract, self.window = spark, folder, contract, window
        # What is held back from the warehouse is older than the window.
        self.shown_after = min(window.after_batch, window.shown_after_batch)

    def is_large(self, limit: int) -> bool:
        """Whether the log of bronze says that there are more records; told without a job."""
        source = bronze.source(self.folder)
        files = delta.added_since(lake.bronze(self.folder), source, self.window.after_batch)
        own = (f.rows for f in files or () if f.partition["entity"] == self.contract.entity)
        return sum(own) > limit

    def every(self, judged: DataFrame, arrivals: DataFrame) -> DataFrame:
        """All of them."""
        whole = arrivals
        for part in (self.expected(judged), self.states()):
            whole = whole if part is None else whole.unionAll(part)
        return whole

    def arrived(self, judged: DataFrame, *, with_moves: bool = False) -> DataFrame:
        """The window's records in bronze (or in Kafka)."""
        found = judged.where(f"_batch_id > {self.window.after_batch} and _visible").where(
            f"case when _problem is null then _op in {CHANGES} and {_is_new(self.window)}"
            " else _problem <> 'truncate' end"
        )
        rows = found.selectExpr(
            *_named(
                tallying.ARRIVED,
                self.contract,
                canonical.change_text_spark(self.contract),
                partition="_partition",
                offset="_offset",
                is_kept_out="size(_reasons) > 0",
                is_unreadable="_problem is not null",
            )
        )
        return tallying.with_moves(rows) if with_moves else rows

    def expected(self, judged: DataFrame) -> DataFrame | None:
        """What silver must make of the arrivals, when an entity's transform says it."""
        if self.contract.entity not in CONFORM:
            return None
        valid, _ = quarantine.split(judged.where("_visible"))
        own = valid.where(f"_batch_id > {self.window.after_batch}")
        conformed = CONFORM[self.contract.entity](own)
        text = canonical.change_text_spark(self.contract)
        return conformed.where(f"_op in {CHANGES} and {_is_new(self.window)}").selectExpr(
            *_named(tallying.EXPECTED, self.contract, text)
        )

    def states(self) -> DataFrame | None:
        """What silver's tables have of it."""
        parts = [
            self._read_back(table, mark)
            for mark, table in (
                (tallying.HISTORY, lake.history(self.folder, self.contract)),
                (tallying.CURRENT, lake.current(self.folder, self.contract)),
            )
            if delta.exists(table)
        ]
        if not parts:
            return None
        return parts[0].unionAll(parts[1]) if len(parts) > 1 else parts[0]

    def _read_back(self, table: Path, mark: str) -> DataFrame:
        window, contract = self.window, self.contract
        in_history = mark == tallying.HISTORY
        of_window = f"_batch_id > {window.after_batch} and {_is_new(window)}"
        beyond, wanted = self.shown_after, f"_batch_id > {self.shown_after}"
        if in_history:
            # What was committed before and comes only now: a copy leaves no row, so it is none.
            beyond = window.after_batch
            wanted = f"({of_window}) or _batch_id > {max(window.last_batch, window.after_batch)}"
        rows = reading_back.rows(self.spark, table, contract, beyond).where(wanted)
        rows = rows.selectExpr("*", "cast(array() as array<string>) as _wrong")
        shown = state_text(contract, [column.name for column in publish.published(contract)])
        other = canonical.change_text_spark(contract) if in_history else shown
        return rows.selectExpr(
            *_named(
                mark,
                contract,
                state_text(contract, [c.name for c in contract.columns]),
                other=canonical.digest_spark(other),
                is_last="_is_current" if in_history else "true",
                is_new=of_window,
            )
        )


def _brought(contract: Contract, frame: DataFrame, limit: int | None = None) -> Evidence | None:
    """The rows as Evidence; None when there are more than `limit` of a hop."""
    most = None if limit is None else HOPS_BROUGHT * limit
    rows = _rows(frame if most is None else frame.limit(most + 1))
    if most is not None and len(rows) > most:
        return None
    by_mark: dict[str, list[Any]] = {}
    for row in rows:
        by_mark.setdefault(row[0], []).append(row)
    arrivals, unreadable = _as_arrivals(by_mark.get(tallying.ARRIVED, []))
    expected = [_change(row) for row in by_mark.get(tallying.EXPECTED, [])]
    if contract.entity not in CONFORM:
        in_order = sorted(arrivals, key=lambda a: (a.partition, a.offset))
        expected = [a.change for a in in_order if not a.is_quarantined]
    past, now = by_mark.get(tallying.HISTORY, []), by_mark.get(tallying.CURRENT, [])
    changes = [row for row in past if row[3] in ("c", "u", "d")]
    # At the place of a row's state there is its change (history), or what is shown of it (current).
    return Evidence(
        entity=contract.entity,
        bronze=arrivals,
        expected=list({c.identity: c for c in reversed(expected)}.values()),
        silver=[_change(row, 6) for row in changes if row[_IS_NEW]],
        late=[_change(row, 6) for row in changes if not row[_IS_NEW]],
        last=[_change(row) for row in past if row[_IS_LAST] and row[_IS_NEW]],
        current=[_change(row) for row in now if row[_IS_NEW]],
        shown=[_change(row, 6) for row in now],
        unreadable=unreadable,
    )


def _arrivals(frame: DataFrame) -> tuple[list[Arrival], int]:
    return _as_arrivals(_rows(frame))


def _as_arrivals(rows: Sequence[Any]) -> tuple[list[Arrival], int]:
    readable = [row for row in rows if not row[_IS_UNREADABLE]]
    found = [
        Arrival(_change(row), row[_PARTITION], row[_OFFSET], row[_IS_KEPT_OUT], row[_IS_MOVED])
        for row in readable
    ]
    return found, len(rows) - len(readable)


def _change(row: Any, digest: int = 4) -> Change:
    return Change(row[1], row[2], row[3], row[digest], row[5])


def state_text(contract: Contract, names: Sequence[str]) -> str:
    """What a table says of a key now: these columns, and whether it is deleted."""
    return f"concat({canonical.row_text_spark(contract, names)}, cast(_is_deleted as string))"


def _named(mark: str, contract: Contract, text: str, **others: str) -> list[str]:
    """FIELDS of a part: a Change with its digest of `text`, and the others that the part has."""
    values = {
        "mark": f"'{mark}'",
        "key": canonical.key_text_spark(contract),
        "lsn": "_lsn",
        "op": "_op",
        "digest": canonical.digest_spark(text),
        "order": "_commit_lsn",
        **others,
    }
    return [
        f"{values.get(name, f'cast(null as {kind})')} as `{name}`"
        for name, kind in tallying.FIELDS.items()
    ]


def _is_new(window: Window) -> str:
    """Not in the agreed cut."""
    return f"not {as_sql(window.agreed, '_tx_id', '_op', '_lsn')}"


def _rows(frame: DataFrame) -> list[tuple[Any, ...]]:
    """The only way by which rows of changes come to this process."""
    table = frame.toArrow()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
