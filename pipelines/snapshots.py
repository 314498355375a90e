"""Feeds that send their whole state each time, turned into changes and intervals, pure.

A snapshot says what is there at its moment and leaves out what is gone, so a cut off or empty one
would end everything: it is refused until another one confirms it. What counts is the set of
snapshots, ordered by their moments: a late one takes its place between the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

# Fewer rows than this share of the last accepted snapshot are suspicious.
LEAST_SHARE = 0.5


@dataclass(frozen=True, order=True)
class Seen:
    """One snapshot that arrived: of whom, of when (in any unit), how many rows.

    `is_confirmed`: a person says that it is whole, however few its rows are.
    """

    scope: str
    moment: int
    rows: int
    is_confirmed: bool = False


@dataclass(frozen=True)
class Judged:
    """What became of a snapshot: its place among the accepted ones of its scope, or why not."""

    seen: Seen
    rank: int | None
    reason: str | None = None


def judge(seen: Iterable[Seen], least_share: float = LEAST_SHARE) -> list[Judged]:
    """Which snapshots are believed, per scope in order of their moments.

    A shrunken one is believed when a person confirms it, or from the second in a row on that says
    the same; an empty one only when a person does.
    """
    judged: list[Judged] = []
    scopes: dict[str, list[Seen]] = {}
    # A moment that came twice is one snapshot: the fuller one, confirmed if either was.
    for each in sorted(set(seen)):
        of = scopes.setdefault(each.scope, [])
        if of and of[-1].moment == each.moment:
            confirmed = each.is_confirmed or of[-1].is_confirmed
            of[-1] = Seen(each.scope, each.moment, each.rows, confirmed)
        else:
            of.append(each)
    for of in scopes.values():
        judged += _of_scope(of, least_share)
    return judged


def intervals(
    rows: DataFrame, accepted: DataFrame, key: Sequence[str], values: Sequence[str]
) -> DataFrame:
    """When each key had which values, half-open: one row an unbroken run of equal values.

    `rows` are those of all snapshots (scope, taken_at, key, values), `accepted` the judgement's
    (scope, taken_at, rank). `_began_by` is insert or update, `_ended_by` update, delete or null.
    """
    whole = ["scope", *key]
    per_key = Window.partitionBy(*whole).orderBy("rank")
    # A key is once in a snapshot, however often it was sent.
    placed = (
        rows.join(accepted, ["scope", "taken_at"])
        .groupBy(*whole, "rank")
        .agg(F.max(F.struct(*values)).alias("_said"))
    )
    starts = F.expr("int(not coalesce(_follows and _is_same, false))")
    marked = placed.select(
        *whole,
        "_said.*",
        "rank",
        (F.lag("rank").over(per_key) == F.col("rank") - 1).alias("_follows"),
        F.lag("_said").over(per_key).eqNullSafe(F.col("_said")).alias("_is_same"),
    ).withColumn("_run", F.sum(starts).over(per_key))
    runs = marked.groupBy(*whole, *values, "_run").agg(
        F.min("rank").alias("_first"),
        F.max("rank").alias("_last"),
        F.expr("min_by(coalesce(_follows, false), rank)").alias("_follows"),
    )
    begins = accepted.selectExpr("scope", "rank as _first", "taken_at as valid_from")
    ends = accepted.selectExpr("scope", "rank - 1 as _last", "taken_at as valid_to")
    after = Window.partitionBy(*whole).orderBy("_first")
    dated = runs.join(begins, ["scope", "_first"]).join(ends, ["scope", "_last"], "left")
    return dated.select(
        *whole,
        *values,
        "valid_from",
        "valid_to",
        F.expr("valid_to is null").alias("is_current"),
        F.expr("if(_follows, 'update', 'insert')").alias("_began_by"),
        F.when(F.col("valid_to").isNull(), None)
        .when(F.lead("_follows").over(after), "update")
        .otherwise("delete")
        .alias("_ended_by"),
    )


def changes(of: DataFrame, key: Sequence[str]) -> DataFrame:
    """What each snapshot changed, as a stream of changes would have told it."""
    whole = ["scope", *key]
    begun = of.selectExpr(*whole, "_began_by as op", "valid_from as changed_at")
    ended = of.where("_ended_by = 'delete'").selectExpr(
        *whole, "_ended_by as op", "valid_to as changed_at"
    )
    return begun.unionByName(ended)


def _of_scope(of: Sequence[Seen], least_share: float) -> list[Judged]:
    judged: list[Judged] = []
    believed, doubted = 0, None
    for each in of:
        few = least_share * believed
        is_repeated = doubted is not None and doubted > 0 and each.rows >= least_share * doubted
        if each.is_confirmed or (each.rows and (each.rows >= few or is_repeated)):
            rank = sum(one.rank is not None for one in judged) + 1
            judged.append(Judged(each, rank))
            believed, doubted = each.rows, None
        else:
            reason = "empty" if not each.rows else f"{each.rows} rows after {believed}"
            judged.append(Judged(each, None, reason))
            doubted = each.rows
    return judged
