"""All of a table at a cut: source = fold of all bronze = silver = warehouse, and sound inside.

Input: the source in the cut's own snapshot, and the lake, whose silver has been brought to the cut.
All of bronze is folded once more. Output: a verdict in the shape of a window's. Nothing of the lake
is changed. A table without a row anywhere costs no Spark job, another one two; rows come to this
process only of key buckets whose sums differ, and a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import delta, lake, publish, refresh
from pipelines.certificate import canonical, measuring, reading_back, showing
from pipelines.certificate.arrived import Arrived
from pipelines.certificate.comparing import Figures, Verdict
from pipelines.certificate.drilling import (
    ALTERED,
    DUPLICATED,
    REORDERED,
    Break,
    Change,
    differences,
    key_shown,
)
from pipelines.certificate.folding import Fold, folded
from pipelines.certificate.measuring import Measured, Side
from pipelines.certificate.sums import Sum, some_of
from pipelines.visibility import Cut
from schemas.contract import Contract

# key text -> digest of its row, by bucket: how the source is asked again
Digests = Callable[[int], Iterable[tuple[str, int]]]
# So many rows of differing buckets are read, or one bucket.
ROWS_LOOKED_AT = 200_000


@dataclass(frozen=True)
class Place:
    """Where things are, and as of when."""

    spark: SparkSession
    folder: Path
    cut: Cut
    schemas: refresh.WriterSchemas
    # None: the warehouse is not compared.
    warehouse_dsn: str | None = None
    rows_looked_at: int = ROWS_LOOKED_AT


def certify(
    at: Place, contract: Contract, told: Mapping[int, Sum], digests: Digests, arrived: Arrived
) -> Verdict:
    """Compare every hop's whole state. `told` is what the source's snapshot adds up to."""
    if not (told or arrived.rows or has_silver(at, contract)):
        return Verdict(contract.entity, {"source": Figures()}, arrived.breaks)
    session = reading_back.session(at.spark, at.folder, contract, arrived.rows)
    at = replace(at, spark=session)
    with folded(at.spark, at.folder, contract, at.cut, at.schemas, arrived) as fold:
        found = _Compared(at, contract, fold).with_source(told, digests)
    return replace(found, breaks=(*found.breaks, *arrived.breaks))


def has_silver(at: Place, contract: Contract) -> bool:
    """Whether there has ever been anything to build."""
    tables = (lake.current(at.folder, contract), lake.history(at.folder, contract))
    return any(delta.exists(table) for table in tables)


class _Compared:
    """One table's hops, measured in one Spark job and looked into where they differ."""

    def __init__(self, at: Place, contract: Contract, fold: Fold) -> None:
        self.at, self.contract, self.fold = at, contract, fold
        tick = delta.NEVER
        self.is_shown = bool(at.warehouse_dsn and contract.published)
        if self.is_shown:
            tick = publish.watermark(at.warehouse_dsn or "", contract)
        self.sides: Measured = measuring.measured(at.spark, at.folder, contract, fold.states, tick)
        self._kept_out: dict[int, set[str]] = {}

    def with_source(self, told: Mapping[int, Sum], digests: Digests) -> Verdict:
        """The verdict."""
        found = list(self._hops(told, digests))
        breaks = [one for _, _, ones in found for one in ones]
        if self.sides.unsound:
            breaks += _of_history(self.at, self.contract)
        return Verdict(self.contract.entity, {hop: f for hop, f, _ in found}, tuple(breaks))

    def _hops(
        self, told: Mapping[int, Sum], digests: Digests
    ) -> Iterator[tuple[str, Figures, list[Break]]]:
        sides, source = self.sides, Side(None, "", told)
        yield "source", source.figures(), []
        found = self._differing("bronze", source, sides.fold_live, digests)
        yield "bronze", sides.fold_live.figures(self._keys_kept_out()), found
        found = self._differing("silver", sides.fold_past, sides.past)
        yield "silver", sides.past.figures(), found
        found = self._differing("current", sides.fold_now, sides.now)
        yield "current", sides.live.figures(), found
        if self.is_shown and sides.shown.rows is not None:
            yield "warehouse", *self._of_warehouse(self.at.warehouse_dsn or "")

    def _keys_kept_out(self) -> int:
        if self.fold.kept_out is None:
            return 0
        return self.fold.kept_out.select(*self.contract.key).distinct().count()

    def _explained(self, buckets: Sequence[int]) -> set[str]:
        """Keys that have a record which breaks the contract: explained, whatever silver says."""
        if self.fold.kept_out is None:
            return set()
        key = canonical.key_text_spark(self.contract)
        some = self.fold.kept_out.where(F.expr(canonical.bucket_spark(key)).isin(list(buckets)))
        return {row[0] for row in some.selectExpr(key).distinct().collect()}

    def _differing(
        self, hop: str, above: Side, here: Side, digests: Digests | None = None
    ) -> list[Break]:
        buckets, is_partial = some_of(above.sums, here.sums, self.at.rows_looked_at)
        if not buckets:
            return []
        if digests is None:
            told = _keyed(above, self.contract, buckets)
        else:
            told = [Change(k, 0, "", d) for bucket in buckets for k, d in digests(bucket)]
        has = _keyed(here, self.contract, buckets)
        explained = self._explained(buckets)
        # Named by key alone: the position of a state is said, and not what it is known by.
        places = {change.key: change.lsn for change in (*told, *has) if change.lsn}
        is_past = hop == "silver"
        plain = [
            [
                Change(c.key, c.lsn if is_past else 0, "", c.digest)
                for c in side
                if c.key not in explained
            ]
            for side in (told, has)
        ]
        found = differences(self.contract.entity, hop, *plain)
        return [_placed(one, places, is_partial) for one in found]

    def _of_warehouse(self, dsn: str) -> tuple[Figures, list[Break]]:
        """The published table against current, as far as it has been published."""
        contract, told = self.contract, self.sides.shown
        later = self._published_later()
        with psycopg.connect(dsn) as connection:
            shown = showing.sums(connection, contract)
            for change in showing.states(connection, contract, later):
                bucket = canonical.bucket(change.key)
                shown[bucket] += Sum(-1, -change.digest)
            has = Side(None, "", {bucket: one for bucket, one in shown.items() if one.changes})
            buckets, is_partial = some_of(told.sums, has.sums, self.at.rows_looked_at)
            if not buckets:
                return has.figures(), []
            above = [c for c in _keyed(told, contract, buckets) if c.key not in later]
            here = [c for c in showing.every(connection, contract)
                    if c.key not in later and canonical.bucket(c.key) in set(buckets)]  # fmt: skip
        places = {c.key: c.lsn for c in (*above, *here)}
        plain = [[c._replace(lsn=0, op="", order=0) for c in side] for side in (above, here)]
        found = differences(contract.entity, "warehouse", *plain)
        return has.figures(), [_placed(one, places, is_partial) for one in found]

    def _published_later(self) -> set[str]:
        """Keys whose last state the warehouse has not been given yet."""
        if not self.sides.later or self.sides.now.rows is None:
            return set()
        rows = self.sides.now.rows.where("not _is_given")
        return {r[0] for r in rows.selectExpr(canonical.key_text_spark(self.contract)).collect()}


def _keyed(side: Side, contract: Contract, buckets: Sequence[int]) -> list[Change]:
    if side.rows is None:
        return []
    key = canonical.key_text_spark(contract)
    some = side.rows.where(F.expr(canonical.bucket_spark(key)).isin(list(buckets)))
    found = some.selectExpr(key, "_lsn", "''", canonical.digest_spark(side.text))
    return [Change(*row) for row in found.collect()]


def _placed(one: Break, places: Mapping[str, int], is_partial: bool) -> Break:
    if not one.first_lsn:
        shown = {key_shown(key): lsn for key, lsn in places.items()}
        ends = [shown.get(key, 0) for key in (one.first_key, one.last_key)]
        one = replace(one, first_lsn=min(ends), last_lsn=max(ends))
    return replace(one, is_partial=is_partial)


def _of_history(at: Place, contract: Contract) -> list[Break]:
    """Where history is not sound, by kind: keys and positions, as many as are looked at."""
    table = delta.read(at.spark, lake.history(at.folder, contract))
    faults = measuring.faults(contract)
    kinds = {"duplicated": DUPLICATED, "reordered": REORDERED, "altered": ALTERED}
    rows = table.selectExpr(
        f"{canonical.key_text_spark(contract)} as key_text",
        "_lsn",
        *(f"{fault} as `{name}`" for name, fault in faults.items()),
    )
    wrong = rows.where(" or ".join(f"`{name}`" for name in faults)).limit(at.rows_looked_at + 1)
    found: dict[str, list[tuple[str, int]]] = {}
    every = wrong.collect()
    for row in every:
        for name in faults:
            if row[name]:
                found.setdefault(kinds[name], []).append((key_shown(row["key_text"]), row["_lsn"]))
    is_partial = len(every) > at.rows_looked_at
    return [
        Break(contract.entity, "silver", kind, len({k for k, _ in places}), min(places)[0],
              max(places)[0], min(lsn for _, lsn in places), max(lsn for _, lsn in places),
              is_partial=is_partial)
        for kind, places in found.items()
    ]  # fmt: skip
