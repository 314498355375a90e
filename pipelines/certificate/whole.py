"""All of a table at a cut: source = fold of all bronze = silver = warehouse, and sound inside.

Input: the source in the cut's own snapshot, and the lake, whose silver has been brought to the cut.
All of bronze is folded once more, in a place of its own, by the builds that make silver. Output: a
verdict in the shape of a window's. Nothing of the lake is changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import delta, lake, publish, refresh
from pipelines.certificate import canonical, hops, showing, states
from pipelines.certificate.comparing import Figures, Verdict
from pipelines.certificate.drilling import (
    ALTERED,
    DUPLICATED,
    MISSING,
    NOTHING,
    REORDERED,
    Break,
    Change,
    differences,
    key_shown,
)  # fmt: skip
from pipelines.certificate.sums import Sum, total
from pipelines.visibility import Cut
from schemas.contract import Contract

# key text -> digest of its row, by bucket: how the source is asked again
Digests = Callable[[int], Iterable[tuple[str, int]]]


@dataclass(frozen=True)
class Place:
    """Where things are, and as of when."""

    spark: SparkSession
    folder: Path
    cut: Cut
    schemas: refresh.WriterSchemas
    # None: the warehouse is not compared.
    warehouse_dsn: str | None = None


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


def certify(at: Place, contract: Contract, told: Mapping[int, Sum], digests: Digests) -> Verdict:
    """Compare every hop's whole state. `told` is what the source's snapshot adds up to."""
    if not told and not delta.exists(lake.current(at.folder, contract)):
        return Verdict(contract.entity, {"source": Figures()})
    with _folded(at, contract) as fold:
        kept_out = _quarantined(at, fold, contract)
        found = list(_compared(at, fold, contract, told, digests, kept_out))
    figures = {hop: figure for hop, figure, _ in found}
    breaks = [one for _, _, ones in found for one in ones]
    breaks += _of_history(at, contract)
    return Verdict(contract.entity, figures, tuple(breaks))


def _compared(
    at: Place,
    fold: Path,
    contract: Contract,
    told: Mapping[int, Sum],
    digests: Digests,
    kept_out: set[str],
) -> Iterator[tuple[str, Figures, list[Break]]]:
    row = canonical.row_text_spark(contract, [c.name for c in contract.columns])
    state = hops.state_text(contract, [c.name for c in contract.columns])
    source = Side(None, row, told)
    bronze = _side(at, lake.current(fold, contract), contract, row, states.LIVE)
    yield "source", source.figures(), []
    compared = _differing(contract, "bronze", source, bronze, kept_out, digests)
    yield "bronze", bronze.figures(len(kept_out)), compared
    past = _past_text(contract)
    told_past = _side(at, lake.history(fold, contract), contract, past)
    has_past = _side(at, lake.history(at.folder, contract), contract, past)
    found = _differing(contract, "silver", told_past, has_past, kept_out)
    yield "silver", has_past.figures(), found
    told_now = _side(at, lake.current(fold, contract), contract, state)
    has_now = _side(at, lake.current(at.folder, contract), contract, state)
    live = _side(at, lake.current(at.folder, contract), contract, row, states.LIVE)
    yield "current", live.figures(), _differing(contract, "current", told_now, has_now, kept_out)
    if at.warehouse_dsn and contract.published:
        yield "warehouse", *_of_warehouse(at, at.warehouse_dsn, contract)


@contextmanager
def _folded(at: Place, contract: Contract) -> Iterator[Path]:
    """All of bronze as silver, in a lake that has nothing else."""
    place = lake.aside(at.folder) / f"certificate-{contract.entity}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        for shared in (lake.bronze(at.folder), lake.bronze_checkpoint(at.folder).parent):
            if shared.exists():
                (place / shared.name).symlink_to(shared.resolve(), target_is_directory=True)
        refresh.build_silver(at.spark, place, contract, at.cut, at.schemas)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _quarantined(at: Place, fold: Path, contract: Contract) -> set[str]:
    """Keys that have a record which breaks the contract: explained, whatever silver says."""
    if not delta.exists(lake.quarantine(fold)):
        return set()
    window = hops.Window(at.cut, at.cut, NOTHING, NOTHING, NOTHING)
    judged = hops.records(at.spark, at.folder, contract, window, at.schemas)
    broken = judged.where("size(_reasons) > 0 and _problem is null")
    return {row[0] for row in broken.selectExpr(canonical.key_text_spark(contract)).collect()}


def _side(at: Place, table: Path, contract: Contract, text: str, where: str = "true") -> Side:
    if not delta.exists(table):
        return Side(None, text, {})
    rows = delta.read(at.spark, table).where(where)
    rows = rows.selectExpr("*", "cast(array() as array<string>) as _wrong")
    return Side(rows, text, states.sums(rows, contract, text))


def _past_text(contract: Contract) -> str:
    """A row of history: the change, and from when to when it held."""
    times = ", ".join(f"coalesce(cast(unix_micros({n}) as string), '')"
                      for n in ("_valid_from", "_valid_to"))  # fmt: skip
    return f"concat_ws('|', {canonical.change_text_spark(contract)}, {times}, _commit_lsn)"


def _differing(
    contract: Contract,
    hop: str,
    above: Side,
    here: Side,
    kept_out: set[str],
    digests: Digests | None = None,
) -> list[Break]:
    buckets = sorted(
        bucket
        for bucket in above.sums.keys() | here.sums.keys()
        if above.sums.get(bucket, Sum()) != here.sums.get(bucket, Sum())
    )
    if not buckets:
        return []
    if digests is None:
        told = _keyed(above, contract, buckets)
    else:
        told = [Change(k, 0, "", d) for bucket in buckets for k, d in digests(bucket)]
    has = _keyed(here, contract, buckets)
    # Named by key alone: the position of a state is said, and not what it is known by.
    places = {change.key: change.lsn for change in (*told, *has) if change.lsn}
    is_past = hop == "silver"
    plain = [
        [
            Change(c.key, c.lsn if is_past else 0, "", c.digest)
            for c in side
            if c.key not in kept_out
        ]
        for side in (told, has)
    ]
    return [_placed(one, places) for one in differences(contract.entity, hop, *plain)]


def _keyed(side: Side, contract: Contract, buckets: Sequence[int]) -> list[Change]:
    if side.rows is None:
        return []
    key = canonical.key_text_spark(contract)
    some = side.rows.where(F.expr(canonical.bucket_spark(key)).isin(list(buckets)))
    found = some.selectExpr(key, "_lsn", "''", canonical.digest_spark(side.text))
    return [Change(*row) for row in found.collect()]


def _placed(one: Break, places: Mapping[str, int]) -> Break:
    if one.first_lsn:
        return one
    shown = {key_shown(key): lsn for key, lsn in places.items()}
    ends = [shown.get(key, 0) for key in (one.first_key, one.last_key)]
    return Break(one.entity, one.hop, one.kind, one.keys, one.first_key, one.last_key,
                 min(ends), max(ends))  # fmt: skip


def _of_warehouse(at: Place, dsn: str, contract: Contract) -> tuple[Figures, list[Break]]:
    """The published table against current, as far as it has been published."""
    tick = publish.watermark(dsn, contract)
    table = lake.current(at.folder, contract)
    if not delta.exists(table):
        return Figures(), []
    names = [column.name for column in publish.published(contract)]
    text, key = hops.state_text(contract, names), canonical.key_text_spark(contract)
    rows = delta.read(at.spark, table)
    later = {r[0] for r in rows.where(F.col("_tick") > tick).selectExpr(key).collect()}
    told = Side(rows, text, states.sums(rows.where(F.col("_tick") <= tick), contract, text))
    with psycopg.connect(dsn) as connection:
        shown = showing.sums(connection, contract)
        for change in showing.states(connection, contract, later):
            bucket = canonical.bucket(change.key)
            shown[bucket] += Sum(-1, -change.digest)
        has = Side(None, text, {bucket: one for bucket, one in shown.items() if one.changes})
        buckets = [b for b in told.sums.keys() | has.sums.keys()
                   if told.sums.get(b, Sum()) != has.sums.get(b, Sum())]  # fmt: skip
        if not buckets:
            return has.figures(), []
        above = [c for c in _keyed(told, contract, buckets) if c.key not in later]
        here = [c for c in showing.every(connection, contract)
                if c.key not in later and canonical.bucket(c.key) in buckets]  # fmt: skip
    places = {c.key: c.lsn for c in (*above, *here)}
    plain = [[c._replace(lsn=0, op="", order=0) for c in side] for side in (above, here)]
    found = differences(contract.entity, "warehouse", *plain)
    return has.figures(), [_placed(one, places) for one in found]


def _of_history(at: Place, contract: Contract) -> list[Break]:
    """Half-open intervals without gaps or overlaps, one current state a key, rising positions."""
    table = lake.history(at.folder, contract)
    if not delta.exists(table):
        return []
    keys = ", ".join(f"`{name}`" for name in contract.key)
    over = f"over (partition by {keys} order by _commit_lsn, _streamed, _lsn)"
    faults = {
        DUPLICATED: f"count(*) over (partition by {keys}, _streamed, _lsn) > 1",
        REORDERED: "_valid_to < _valid_from",
        ALTERED: f"not (_valid_to <=> lead(_valid_from) {over})"
        f" or _is_current <> (lead(_lsn) {over} is null)",
    }
    key = canonical.key_text_spark(contract)
    rows = delta.read(at.spark, table).selectExpr(
        f"{key} as key_text", "_lsn", *(f"{fault} as `{kind}`" for kind, fault in faults.items())
    )
    any_fault = " or ".join(f"`{kind}`" for kind in faults)
    found: dict[str, list[tuple[str, int]]] = {}
    for key_text, lsn, *flags in rows.where(any_fault).collect():
        for kind, is_so in zip(faults, flags, strict=True):
            if is_so:
                found.setdefault(kind, []).append((key_shown(key_text), lsn))
    return [
        Break(contract.entity, "silver", kind, len({k for k, _ in places}), min(places)[0],
              max(places)[0], min(lsn for _, lsn in places), max(lsn for _, lsn in places))
        for kind, places in found.items()
    ]  # fmt: skip


def of_bronze(spark: SparkSession, folder: Path, contracts: Iterable[Contract]) -> list[Break]:
    """Each (topic, partition, offset) once, and no offset left out, per captured topic."""
    by_topic = {contract.topic: contract.entity for contract in contracts}
    if not delta.exists(lake.bronze(folder)):
        return []
    rows = delta.read(spark, lake.bronze(folder)).where(F.col("topic").isin(list(by_topic)))
    grouped = rows.groupBy("topic", "partition").agg(
        F.count("*"), F.count_distinct("offset"), F.min("offset"), F.max("offset")
    )
    breaks = []
    for topic, partition, count, different, first, last in grouped.collect():
        for kind, wrong in (
            (DUPLICATED, count - different),
            (MISSING, last - first + 1 - different),
        ):
            if wrong:
                where = f"{topic}:{partition} offsets {first} .. {last}"
                breaks.append(Break(by_topic[topic], "bronze", kind, wrong, where, where, 0, 0))
    return breaks
