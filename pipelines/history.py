"""States of each key over time, pure: order, fill, half-open intervals, the last state.

The result depends only on the set of changes, not on their arrival: duplicates count once, and a
late older change moves the intervals around it. Time never runs backwards inside a key.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from pipelines.cdc import ORDER, TECHNICAL, sql_type
from schemas.contract import Contract

VALIDITY = {"_valid_from": "timestamp", "_valid_to": "timestamp", "_is_current": "boolean"}


def columns(contract: Contract) -> list[str]:
    """The columns of an entity's history."""
    return [*(c.name for c in contract.columns), *TECHNICAL, "_unchanged", *VALIDITY]


def ddl(contract: Contract) -> str:
    """The columns with their types."""
    typed = {c.name: sql_type(c) for c in contract.columns} | TECHNICAL
    typed |= {"_unchanged": "array<string>", **VALIDITY}
    return ", ".join(f"`{name}` {kind}" for name, kind in typed.items())


def states(
    changes: DataFrame, known: DataFrame | None, contract: Contract, fill: bool
) -> DataFrame:
    """Every state of the touched keys: `changes` put among the `known` history rows of their keys.

    `_is_new` marks what history does not have like this yet, `_has_news` every state of a key that
    has such. `fill` carries the previous value into columns that a change did not carry (deletes,
    values stored out of line); needed only when there are such.
    """
    names = [c.name for c in contract.columns]
    plain = [*names, *TECHNICAL, "_unchanged"]
    rows = changes.select(*plain, F.lit(True).alias("_arrived"))
    if known is not None:
        # What history says now, to see afterwards whether it still says so.
        said = F.struct(*names, *VALIDITY).alias("_said")
        known = known.select(*plain, F.lit(False).alias("_arrived"), said)
        rows = rows.unionByName(known, allowMissingColumns=True)
    key = Window.partitionBy(*contract.key)
    # The same change twice is the same state: the first record of it stands for all.
    ordered = key.orderBy(*ORDER, "_arrived", "_offset", "_partition")
    rows = (
        rows.withColumn("_before", F.lag(F.struct("_streamed", "_lsn")).over(ordered))
        .where("_before is null or _before <> struct(_streamed, _lsn)")
        .drop("_before")
    )
    order = key.orderBy(*ORDER)
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    if fill:
        rows = rows.select(
            *(_filled(n, so_far) if n not in contract.key else F.col(n) for n in names),
            *(name for name in rows.columns if name.startswith("_")),
        )
    dated = rows.withColumn("_valid_from", F.max("_changed_at").over(so_far))
    bounded = dated.withColumn("_valid_to", F.lead("_valid_from").over(order)).withColumn(
        "_is_current", F.lead(F.lit(1)).over(order).isNull()
    )
    says = f"struct({', '.join(f'`{name}`' for name in (*names, *VALIDITY))})"
    is_new = "_arrived" if known is None else f"_arrived or not (_said <=> {says})"
    marked = bounded.withColumn("_is_new", F.expr(is_new))
    return marked.withColumn("_has_news", F.max("_is_new").over(key))


def last_states(all_states: DataFrame, contract: Contract, tick: int) -> DataFrame:
    """The last state of each key with news, deleted ones included: rows of the current table."""
    names = [*(c.name for c in contract.columns), *TECHNICAL]
    return all_states.where("_is_current and _has_news").select(
        *names, F.lit(tick).cast("bigint").alias("_tick")
    )


def _filled(name: str, so_far: WindowSpec) -> Column:
    # In a struct, so that a carried null is told from a column that was not carried.
    carried = F.when(~F.array_contains("_unchanged", F.lit(name)), F.struct(F.col(name)))
    return F.last(carried, ignorenulls=True).over(so_far).getField(name).alias(name)
