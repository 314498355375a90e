"""States of each key over time, pure: order, fill, truncates, half-open intervals, versions.

The result depends only on the set of changes, not on their arrival: duplicates count once, and a
late older change moves the intervals around it. Time never runs backwards inside a key. A truncate
ends every state it finds alive, in the place that it has among the changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from pipelines import filling
from pipelines.cdc import ORDER, TECHNICAL, sql_type
from schemas.contract import Contract

VALIDITY = {
    "_valid_from": "timestamp",
    "_valid_to": "timestamp",
    "_is_current": "boolean",
    # Counts the states of the key that differ in a tracked column, from 1.
    "_version": "bigint",
}
# Where a row is in the order of its key's changes, as SQL.
OWN_PLACE = f"struct({', '.join(ORDER)})"
# What a state that a truncate made has of the truncate itself.
OF_TRUNCATE = tuple(n for n in TECHNICAL if n not in {"_op", "_is_deleted", "_streamed"})


@dataclass(frozen=True)
class Truncates:
    """Truncates of one table as SQL: all of them in order, and the place of the last."""

    array: str
    last_place: str

    @classmethod
    def of(cls, rows: Sequence[Sequence[str | None]]) -> Truncates:
        """From at least one row of OF_TRUNCATE, each value as text."""
        each = [dict(zip(OF_TRUNCATE, row, strict=True)) for row in rows]
        each.sort(key=lambda t: (int(t["_commit_lsn"] or 0), int(t["_lsn"] or 0)))
        last = each[-1]
        return cls(
            f"array({', '.join(map(_truncate, each))})",
            _place(f"{last['_commit_lsn']}L", f"{last['_lsn']}L"),
        )

    def precede(self, row: str) -> str:
        """SQL: the last of them comes after the row in this place."""
        return f"{self.last_place} > {row}"


def columns(contract: Contract) -> list[str]:
    """The columns of an entity's history."""
    return [*(c.name for c in contract.columns), *TECHNICAL, "_unchanged", *VALIDITY]


def ddl(contract: Contract) -> str:
    """The columns with their types."""
    typed = {c.name: sql_type(c) for c in contract.columns} | TECHNICAL
    typed |= {"_unchanged": "array<string>", **VALIDITY}
    return ", ".join(f"`{name}` {kind}" for name, kind in typed.items())


def states(
    changes: DataFrame,
    known: DataFrame | None,
    contract: Contract,
    fill: bool,
    truncates: Truncates | None = None,
    moves_in_a_row: int = 0,
) -> DataFrame:
    """Every state of the touched keys: `changes` put among the `known` history rows of their keys.

    `_is_new` marks what history does not have like this yet, `_has_news` every state of a key that
    has such, `_gone` a state that history has and that is none any more: the delete before a
    truncate came late. `fill` carries the previous value into columns that a change did not carry
    (deletes, values stored out of line); needed only when there are such. A row that got another
    key has its old values under the old one, `moves_in_a_row` times over.
    """
    names = [c.name for c in contract.columns]
    rows = _together(changes, known, contract)
    key = Window.partitionBy(*contract.key)
    order = key.orderBy(*ORDER)
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    made_before = rows.where("_op = 't'") if known is not None else None
    if truncates and made_before is not None:
        rows = rows.where("_op <> 't'")
    rows = _each_once(rows, key)
    if fill:
        rows = filling.carried_on(rows, contract, so_far, moves_in_a_row)
    if contract.deleted_when:
        deleted = f"_op in ('d', 't') or coalesce({contract.deleted_when}, false)"
        rows = rows.withColumn("_is_deleted", F.expr(deleted))
    if truncates:
        # Settled: what follows reads both several times.
        rows = rows.localCheckpoint()
        rows = _truncated(rows, made_before, contract, truncates, order).localCheckpoint()
    gone = rows.where("_gone") if truncates else None
    marked = _dated(rows.where("not _gone") if truncates else rows, contract, order, so_far)
    says = f"struct({', '.join(f'`{name}`' for name in (*names, *VALIDITY))})"
    is_new = F.expr("_arrived" if known is None else f"_arrived or not (_said <=> {says})")
    marked = marked.withColumn("_is_new", is_new)
    marked = marked.withColumn("_has_news", F.max("_is_new").over(key))
    if gone is None:
        return marked.withColumn("_gone", F.lit(False))
    return marked.unionByName(gone, allowMissingColumns=True)


def last_states(all_states: DataFrame, contract: Contract, tick: int) -> DataFrame:
    """The last state of each key with news, deleted ones included: rows of the current table."""
    names = [*(c.name for c in contract.columns), *TECHNICAL]
    return all_states.where("_is_current and _has_news").select(
        *names, F.lit(tick).cast("bigint").alias("_tick")
    )


def versions(past: DataFrame, contract: Contract) -> DataFrame:
    """History with one row, and one half-open interval, for each tracked state of a key.

    Untracked columns have the value that they had last in the interval.
    """
    names = [c.name for c in contract.columns if c.name not in contract.key]
    last = F.max_by(F.struct(*names, "_op", "_is_deleted"), F.struct(*ORDER))
    grouped = past.groupBy(*contract.key, "_version").agg(
        last.alias("_last"),
        F.min("_valid_from").alias("_valid_from"),
        F.when(~F.max("_is_current"), F.max("_valid_to")).alias("_valid_to"),
        F.max("_is_current").alias("_is_current"),
        F.count("*").alias("_changes"),
    )
    kept = [*contract.key, "_version", "_valid_from", "_valid_to", "_is_current", "_changes"]
    return grouped.select(*kept, "_last.*")


def _together(changes: DataFrame, known: DataFrame | None, contract: Contract) -> DataFrame:
    names = [c.name for c in contract.columns]
    plain = [*names, *TECHNICAL, "_unchanged"]
    rows = changes.select(*plain, F.lit(True).alias("_arrived"))
    if known is None:
        return rows
    # What history says now, to see afterwards whether it still says so.
    had = set(known.columns)
    known = known.select(
        "*",
        *(
            F.lit(None).cast(kind).alias(name)
            for name, kind in _typed(contract).items()
            if name not in had
        ),
    )
    said = F.struct(*names, *VALIDITY).alias("_said")
    known = known.select(*plain, F.lit(False).alias("_arrived"), said)
    return rows.unionByName(known, allowMissingColumns=True)


def _typed(contract: Contract) -> dict[str, str]:
    # A table made before a column, or before versions were counted, does not have it yet.
    return {c.name: sql_type(c) for c in contract.columns} | VALIDITY


def _each_once(rows: DataFrame, key: WindowSpec) -> DataFrame:
    """The same change twice is the same state: the first record of it stands for all."""
    # By position first: a replay may name another commit before it, but never another position.
    ordered = key.orderBy("_streamed", "_lsn", "_arrived", "_offset", "_partition")
    return (
        rows.withColumn("_before", F.lag(F.struct("_streamed", "_lsn")).over(ordered))
        .where("_before is null or _before <> struct(_streamed, _lsn)")
        .drop("_before")
    )


def _truncated(
    rows: DataFrame,
    made_before: DataFrame | None,
    contract: Contract,
    truncates: Truncates,
    order: WindowSpec,
) -> DataFrame:
    """The rows, and behind each that is alive the first truncate before the next change."""
    others = ", ".join(f"'{c.name}'" for c in contract.columns if c.name not in contract.key)
    place = _place("t._commit_lsn", "t._lsn")
    after = f"{place} > {OWN_PLACE} and (_next is null or {place} < _next)"
    with_end = rows.withColumn("_next", F.lead(F.expr(OWN_PLACE)).over(order)).withColumn(
        "_end", F.expr(f"filter({truncates.array}, t -> {after})[0]")
    )
    replaced = {
        **{n: f"_end.{n}" for n in OF_TRUNCATE},
        "_op": "'t'",
        "_is_deleted": "true",
        "_streamed": "1",
        "_unchanged": f"array({others})",
        "_arrived": "true",
    }
    made = with_end.where("_end is not null and not _is_deleted").select(
        *(F.expr(replaced.get(n, f"`{n}`")).alias(n) for n in rows.columns if n != "_said")
    )
    rows = rows.withColumn("_gone", F.lit(False))
    made = made.withColumn("_gone", F.lit(False))
    if made_before is None:
        return rows.unionByName(made, allowMissingColumns=True)
    # What history has of them: it says the same, something else, or a state that is none any more.
    spot = [*contract.key, "_lsn"]
    had = made_before.select(*spot, "_said")
    matched = made.join(had, spot, "left").withColumn("_arrived", F.expr("_said is null"))
    gone = made_before.join(made.select(*spot), spot, "left_anti")
    gone = gone.withColumn("_gone", F.lit(True))
    return rows.unionByName(matched).unionByName(gone)


def _dated(rows: DataFrame, contract: Contract, order: WindowSpec, so_far: WindowSpec) -> DataFrame:
    """Intervals and versions of the rows of each key."""
    # In a struct of its own: a key without tracked columns still has deletes and returns.
    tracked = F.struct("_is_deleted", *contract.tracked)
    before = F.lag(tracked).over(order)
    dated = rows.withColumn("_valid_from", F.max("_changed_at").over(so_far)).withColumn(
        "_differs", F.when(before.eqNullSafe(tracked), 0).otherwise(1)
    )
    return (
        dated.withColumn("_valid_to", F.lead("_valid_from").over(order))
        .withColumn("_is_current", F.lead(F.lit(1)).over(order).isNull())
        .withColumn("_version", F.sum("_differs").over(so_far))
        .drop("_differs")
    )


def _place(commit_lsn: str, lsn: str) -> str:
    """A streamed change's place in the order, as SQL."""
    return f"named_struct('_commit_lsn', {commit_lsn}, '_streamed', 1, '_lsn', {lsn})"


def _truncate(values: Mapping[str, str | None]) -> str:
    typed = (
        f"'{n}', cast({'null' if v is None else repr(v)} as {TECHNICAL[n]})"
        for n, v in values.items()
    )
    return f"named_struct({', '.join(typed)})"
