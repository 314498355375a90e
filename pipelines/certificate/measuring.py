"""A whole table's hops inside the lake as sums per key bucket, all of them from one Spark job.

Input: the fold of bronze, history and current. Output: count and digest of what is live, of what
was, of what is now and of what the warehouse was given, and how many rows of history are unsound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import delta, lake, publish
from pipelines.certificate import canonical, hops, reading_back
from pipelines.certificate.comparing import Figures
from pipelines.certificate.states import LIVE
from pipelines.certificate.sums import Sum, total
from schemas.contract import Contract

_FOLD, _HISTORY, _CURRENT = "fold", "history", "current"
_DIGESTS = ("live", "now", "past", "shown")
_COUNTS = ("unsound", "later")


@dataclass(frozen=True)
class Side:
    """One hop's rows, their text, and what its sums are."""

    rows: DataFrame | None
    text: str
    sums: Mapping[int, Sum]

    def figures(self, kept_out: int = 0) -> Figures:
        """In numbers."""
        whole = total(self.sums.values())
        return Figures(whole.changes, whole.digest, quarantined=kept_out)


@dataclass(frozen=True)
class Measured:
    """Every hop of the lake. `live` are rows that the source has, `now` the last state of each key,
    `past` all states, `shown` what the warehouse was given."""

    fold_live: Side
    fold_past: Side
    fold_now: Side
    past: Side
    now: Side
    live: Side
    shown: Side
    # Rows of history that contradict others, and last states that were not published yet.
    unsound: int
    later: int


def measured(
    spark: SparkSession, folder: Path, contract: Contract, fold: DataFrame | None, tick: int
) -> Measured:
    """All sides; `tick` is up to where the warehouse was given what is in current."""
    past = _rows(spark, lake.history(folder, contract), contract)
    current = _rows(spark, lake.current(folder, contract), contract)
    if current is not None:
        current = current.withColumn("_is_given", F.col("_tick") <= tick)
    if fold is not None:
        fold = fold.withColumn("_wrong", F.expr("cast(array() as array<string>)"))
    sums, counts = _sums(contract, fold, past, current)
    row = canonical.row_text_spark(contract, [c.name for c in contract.columns])
    state = f"concat({row}, cast(_is_deleted as string))"
    past_text, shown_text = _past_text(contract), _shown_text(contract)
    now = fold.where("_is_current") if fold is not None else None
    given = current.where("_is_given") if current is not None else None
    return Measured(
        fold_live=Side(_where(now, LIVE), row, sums[_FOLD, "live"]),
        fold_past=Side(fold, past_text, sums[_FOLD, "past"]),
        fold_now=Side(now, state, sums[_FOLD, "now"]),
        past=Side(past, past_text, sums[_HISTORY, "past"]),
        now=Side(current, state, sums[_CURRENT, "now"]),
        live=Side(_where(current, LIVE), row, sums[_CURRENT, "live"]),
        shown=Side(given, shown_text, sums[_CURRENT, "shown"]),
        unsound=counts["unsound"],
        later=counts["later"],
    )


def faults(contract: Contract) -> dict[str, str]:
    """What a row of history must not be, as SQL: half-open intervals without gaps or overlaps, one
    current state a key, rising positions."""
    keys = ", ".join(f"`{name}`" for name in contract.key)
    over = f"over (partition by {keys} order by _commit_lsn, _streamed, _lsn)"
    return {
        "duplicated": f"count(*) over (partition by {keys}, _streamed, _lsn) > 1",
        "reordered": "coalesce(_valid_to < _valid_from, false)",
        "altered": f"not (_valid_to <=> lead(_valid_from) {over})"
        f" or _is_current <> (lead(_lsn) {over} is null)",
    }


def _sums(
    contract: Contract, fold: DataFrame | None, past: DataFrame | None, current: DataFrame | None
) -> tuple[dict[tuple[str, str], dict[int, Sum]], dict[str, int]]:
    is_wrong = " or ".join(f"({fault})" for fault in faults(contract).values())
    # Each text once a row: two digests may be of the same text.
    parts = [
        part
        for part in (
            _part(_FOLD, contract, fold, {
                "live": f"case when _is_current and {LIVE} then _row end",
                "now": "case when _is_current then concat(_row, cast(_is_deleted as string)) end",
                "past": _past_text(contract)}),
            _part(_HISTORY, contract, past, {"past": _past_text(contract)}, unsound=is_wrong),
            _part(_CURRENT, contract, current, {
                "live": f"case when {LIVE} then _row end",
                "now": "concat(_row, cast(_is_deleted as string))",
                "shown": f"case when _is_given then {_shown_text(contract)} end"},
                later="not _is_given"),
        )
        if part is not None
    ]  # fmt: skip
    sums: dict[tuple[str, str], dict[int, Sum]] = {
        (mark, name): {} for mark in (_FOLD, _HISTORY, _CURRENT) for name in _DIGESTS
    }
    counts = dict.fromkeys(_COUNTS, 0)
    if not parts:
        return sums, counts
    every = parts[0]
    for part in parts[1:]:
        every = every.unionAll(part)
    summed = [f"count({n}) as {n}_count" for n in _DIGESTS]
    summed += [f"sum(cast({n} as decimal(38,0))) as {n}_sum" for n in _DIGESTS]
    summed += [f"count_if({n}) as {n}_count" for n in _COUNTS]
    for row in every.groupBy("mark", "bucket").agg(*map(F.expr, summed)).collect():
        for name in _DIGESTS:
            if row[f"{name}_count"]:
                sums[row["mark"], name][row["bucket"]] = Sum(
                    row[f"{name}_count"], int(row[f"{name}_sum"])
                )
        for name in _COUNTS:
            counts[name] += row[f"{name}_count"]
    return sums, counts


def _part(
    mark: str,
    contract: Contract,
    rows: DataFrame | None,
    texts: Mapping[str, str],
    **counts: str,
) -> DataFrame | None:
    if rows is None:
        return None
    row = canonical.row_text_spark(contract, [c.name for c in contract.columns])
    if "live" in texts:
        rows = rows.selectExpr("*", f"{row} as _row")
    bucket = canonical.bucket_spark(canonical.key_text_spark(contract))
    digests = {name: canonical.digest_spark(text) for name, text in texts.items()}
    return rows.selectExpr(
        f"'{mark}' as mark",
        f"{bucket} as bucket",
        *(f"{digests.get(name, 'cast(null as bigint)')} as {name}" for name in _DIGESTS),
        *(f"{counts.get(name, 'false')} as {name}" for name in _COUNTS),
    )


def _rows(spark: SparkSession, path: Path, contract: Contract) -> DataFrame | None:
    if not delta.exists(path):
        return None
    rows = reading_back.rows(spark, path, contract)
    return rows.selectExpr("*", "cast(array() as array<string>) as _wrong")


def _where(rows: DataFrame | None, condition: str) -> DataFrame | None:
    return None if rows is None else rows.where(condition)


def _past_text(contract: Contract) -> str:
    """A row of history: the change, and from when to when it held."""
    times = ", ".join(f"coalesce(cast(unix_micros({n}) as string), '')"
                      for n in ("_valid_from", "_valid_to"))  # fmt: skip
    return f"concat_ws('|', {canonical.change_text_spark(contract)}, {times}, _commit_lsn)"


def _shown_text(contract: Contract) -> str:
    return hops.state_text(contract, [column.name for column in publish.published(contract)])
