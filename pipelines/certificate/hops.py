"""What the lake holds of one entity's window, read back from its tables as it lies there.

Input: the records that a build has judged, and its tables after the build. Output: Evidence. A
window is everything visible in the cut and not in the one that was agreed before; its rows lie in
few files, because bronze, history and current keep the bounds of their batch numbers in the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from pipelines.certificate import canonical
from pipelines.certificate.comparing import Evidence
from pipelines.certificate.drilling import Arrival, Change
from pipelines.silver import CONFORM
from pipelines.visibility import Cut, as_sql
from schemas.contract import Contract

CHANGES = "('c', 'u', 'd')"
_IN_HISTORY, _IN_CURRENT = "h", "c"


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
    spark: SparkSession, folder: Path, contract: Contract, judged: DataFrame, window: Window
) -> Evidence:
    """Everything the lake holds of the window. `judged` are its records, as a build reads them."""
    arrivals, unreadable = _arrivals(judged, contract, window)
    found = _states(spark, folder, contract, window)
    return Evidence(
        entity=contract.entity,
        bronze=arrivals,
        expected=_expected(judged, contract, window, arrivals),
        unreadable=unreadable,
        **found,
    )


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
) -> list[Arrival] | None:
    """The window's records in Kafka, as far as bronze has read; None when Kafka let go of them."""
    ends = checkpoint.planned_ends(folder).get(contract.topic, {})
    if not ends:
        return None
    own = delta.read(spark, lake.bronze(folder)).where(
        (F.col("entity") == contract.entity) & (F.col("batch_id") <= window.after_batch)
    )
    read = {str(p): o + 1 for p, o in own.groupBy("partition").agg(F.max("offset")).collect()}
    starts = {p: min(read.get(p, checkpoint.EARLIEST), end) for p, end in ends.items()}
    lying = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("assign", json.dumps({contract.topic: sorted(map(int, ends))}))
        .option("startingOffsets", json.dumps({contract.topic: starts}))
        .option("endingOffsets", json.dumps({contract.topic: ends}))
        .option("includeHeaders", "true")
        .option("failOnDataLoss", "true")
        .load()
    )
    shaped = bronze.shaped(lying, window.after_batch + 1).where(F.col("entity") == contract.entity)
    try:
        judged = _judged(shaped.localCheckpoint(), contract, window.cut, schemas)
        return _arrivals(judged, contract, window)[0]
    except PySparkException:
        return None


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


def _arrivals(judged: DataFrame, contract: Contract, window: Window) -> tuple[list[Arrival], int]:
    found = judged.where(f"_batch_id > {window.after_batch} and _visible").where(
        f"case when _problem is null then _op in {CHANGES} and {_is_new(window)}"
        " else _problem <> 'truncate' end"
    )
    rows = _rows(
        found.selectExpr(
            *_named(contract, canonical.change_text_spark(contract)),
            "_partition",
            "_offset",
            "size(_reasons) > 0",
            "_problem is not null",
        )
    )
    arrivals, unreadable = [], 0
    for *change, partition, offset, is_quarantined, is_unreadable in rows:
        if is_unreadable:
            unreadable += 1
        else:
            arrivals.append(Arrival(Change(*change), partition, offset, is_quarantined))
    return arrivals, unreadable


def _expected(
    judged: DataFrame, contract: Contract, window: Window, arrivals: Sequence[Arrival]
) -> list[Change]:
    """What silver must make of the arrivals: the same, unless the entity has a transform."""
    first: dict[Any, Change] = {}
    if contract.entity in CONFORM:
        valid, _ = quarantine.split(judged.where("_visible"))
        conformed = CONFORM[contract.entity](valid.where(f"_batch_id > {window.after_batch}"))
        own = conformed.where(f"_op in {CHANGES} and {_is_new(window)}")
        text = canonical.change_text_spark(contract)
        found = [Change(*row) for row in _rows(own.selectExpr(*_named(contract, text)))]
    else:
        in_order = sorted(arrivals, key=lambda a: (a.partition, a.offset))
        found = [a.change for a in in_order if not a.is_quarantined]
    for change in found:
        first.setdefault(change.identity, change)
    return list(first.values())


def _states(
    spark: SparkSession, folder: Path, contract: Contract, window: Window
) -> dict[str, list[Change]]:
    """The parts of Evidence that silver's tables have."""
    found: dict[str, list[Change]] = {
        name: [] for name in ("silver", "last", "late", "current", "shown")
    }
    parts = [
        _read_back(spark, table, contract, window, mark)
        for mark, table in (
            (_IN_HISTORY, lake.history(folder, contract)),
            (_IN_CURRENT, lake.current(folder, contract)),
        )
        if delta.exists(table)
    ]
    if not parts:
        return found
    whole = parts[0].unionAll(parts[1]) if len(parts) > 1 else parts[0]
    for key, lsn, op, state, order, other, is_last, is_new, mark in _rows(whole):
        if mark == _IN_CURRENT:
            found["shown"].append(Change(key, lsn, op, other, order))
            if is_new:
                found["current"].append(Change(key, lsn, op, state, order))
            continue
        if op in ("c", "u", "d"):
            found["silver" if is_new else "late"].append(Change(key, lsn, op, other, order))
        if is_last and is_new:
            found["last"].append(Change(key, lsn, op, state, order))
    return found


def _read_back(
    spark: SparkSession, table: Path, contract: Contract, window: Window, mark: str
) -> DataFrame:
    in_history = mark == _IN_HISTORY
    of_window = f"_batch_id > {window.after_batch} and {_is_new(window)}"
    # What is held back from the warehouse is older than the window.
    shown_after = min(window.after_batch, window.shown_after_batch)
    wanted = f"_batch_id > {shown_after}"
    if in_history:
        # What was committed before and comes only now: a copy leaves no row, so it is none.
        wanted = f"({of_window}) or _batch_id > {max(window.last_batch, window.after_batch)}"
    rows = delta.read(spark, table).where(wanted)
    rows = rows.selectExpr("*", "cast(array() as array<string>) as _wrong")
    shown = state_text(contract, [column.name for column in publish.published(contract)])
    other = canonical.change_text_spark(contract) if in_history else shown
    return rows.selectExpr(
        *_named(contract, state_text(contract, [c.name for c in contract.columns])),
        f"{canonical.digest_spark(other)} as other",
        f"{'_is_current' if in_history else 'true'} as is_last",
        f"{of_window} as is_new",
        f"'{mark}' as mark",
    )


def state_text(contract: Contract, names: Sequence[str]) -> str:
    """What a table says of a key now: these columns, and whether it is deleted."""
    return f"concat({canonical.row_text_spark(contract, names)}, cast(_is_deleted as string))"


def _named(contract: Contract, text: str) -> list[str]:
    """The columns of a Change, its digest of `text`."""
    return [
        f"{canonical.key_text_spark(contract)} as change_key",
        "_lsn as change_lsn",
        "_op as change_op",
        f"{canonical.digest_spark(text)} as change_digest",
        "_commit_lsn as change_order",
    ]


def _is_new(window: Window) -> str:
    """Not in the agreed cut."""
    return f"not {as_sql(window.agreed, '_tx_id', '_op', '_lsn')}"


def _rows(frame: DataFrame) -> Iterator[tuple[Any, ...]]:
    table = frame.toArrow()
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
