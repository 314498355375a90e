"""Values that a change did not carry, pure: from the change before, or from the row's old key."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, WindowSpec
from pyspark.sql import functions as F

from schemas.contract import Contract

# An insert carries its whole row, unless it is a row that got another key.
INCOMPLETE = "_op = 'c' and size(_unchanged) > 0"
_WAS_INCOMPLETE = "_op = 'c' and size(_sent) > 0"


def carried_on(
    rows: DataFrame, contract: Contract, so_far: WindowSpec, moves_in_a_row: int
) -> DataFrame:
    """The states of each key with every value; `moves_in_a_row` is how far one may have to go."""
    names = [c.name for c in contract.columns]
    others = [name for name in rows.columns if name.startswith("_")]
    if moves_in_a_row:
        # What was not carried stays known: another change of the old key may come yet.
        rows = rows.withColumn("_sent", F.col("_unchanged"))
    for step in range(moves_in_a_row + 1):
        carried = rows.columns if moves_in_a_row else [*names, *others]
        rows = rows.select(
            *(_filled(n, so_far) if n not in contract.key else F.col(n) for n in names),
            *(name for name in carried if name.startswith("_")),
        )
        if step < moves_in_a_row:
            # Settled: each step reads it several times. Each brings values one key further.
            rows = _moved(rows.localCheckpoint(), contract)
    return rows.withColumn("_unchanged", F.col("_sent")).drop("_sent") if moves_in_a_row else rows


def _moved(rows: DataFrame, contract: Contract) -> DataFrame:
    """Rows that moved, with what they did not carry as it was under their old key."""
    others = [c.name for c in contract.columns if c.name not in contract.key]
    before = F.struct(*others).alias("_left")
    left = rows.where("_op = 'd'").select(F.col("_lsn").alias("_at"), before)
    moved = rows.where(_WAS_INCOMPLETE).join(
        left.dropDuplicates(["_at"]), F.expr("_at = _lsn"), "left"
    )
    filled = moved.select(
        *(_whole(name, others) for name in rows.columns if name != "_unchanged"),
        F.expr("case when _at is null then _unchanged else array() end").alias("_unchanged"),
    )
    return rows.where(f"not ({_WAS_INCOMPLETE})").unionByName(filled)


def _whole(name: str, others: list[str]) -> Column:
    if name not in others:
        return F.col(name)
    is_left = F.array_contains("_sent", F.lit(name)) & F.col("_at").isNotNull()
    return F.when(is_left, F.col(f"_left.{name}")).otherwise(F.col(name)).alias(name)


def _filled(name: str, so_far: WindowSpec) -> Column:
    # In a struct, so that a carried null is told from a column that was not carried.
    carried = F.when(~F.array_contains("_unchanged", F.lit(name)), F.struct(F.col(name)))
    return F.last(carried, ignorenulls=True).over(so_far).getField(name).alias(name)
