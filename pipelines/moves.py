"""Rows that got another key and were not carried whole: the rest of them is under the old key.

A key change is captured as a delete and an insert at one position of the log. A value that is
stored out of line and did not change is in neither; it is in the states of the old key. So the two
keys are remembered, and when one of them is touched the other one is as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import cdc, delta, lake
from pipelines.filling import INCOMPLETE
from schemas.contract import Contract


@dataclass(frozen=True)
class Move:
    """A row that went from one key to another; `old` is None until its delete has come."""

    lsn: int
    old: tuple[Any, ...] | None
    new: tuple[Any, ...]


def follow(
    spark: SparkSession, lake_folder: Path, contract: Contract, valid: DataFrame, arrived: int
) -> list[Move]:
    """Every such move of the table, those of this batch (`arrived` of them) included.

    No Spark job for a table that never had one.
    """
    table = lake.moves(lake_folder, contract)
    if not arrived and not delta.exists(table):
        return []
    new = [f"`{n}` as `new_{n}`" for n in contract.key]
    moves = valid.where(INCOMPLETE).selectExpr("_lsn", *new).dropDuplicates(["_lsn"])
    if delta.exists(table):
        known = delta.read(spark, table).select(*moves.columns)
        moves = moves.unionByName(known).dropDuplicates(["_lsn"])
    deletes = valid.where("_op = 'd'").select("_lsn", *contract.key)
    history = lake.history(lake_folder, contract)
    # The delete may have come before: only then history is looked through.
    if arrived and delta.exists(history):
        past = delta.read(spark, history).where("_op = 'd'").select("_lsn", *contract.key)
        deletes = deletes.unionByName(past)
    old = [f"`{n}` as `old_{n}`" for n in contract.key]
    found = moves.join(deletes.selectExpr("_lsn", *old).dropDuplicates(["_lsn"]), "_lsn", "left")
    rows = found.coalesce(1).localCheckpoint()
    if delta.exists(table):
        newer = f"t.old_{contract.key[0]} is null and s.old_{contract.key[0]} is not null"
        delta.merge(rows, table, "t._lsn = s._lsn", newer)
    else:
        delta.append(rows, table, statistics=("_lsn",))
    return [_move(row, contract) for row in delta.read(spark, table).collect()]


def together(touched: DataFrame, moves: list[Move], contract: Contract) -> tuple[DataFrame, int]:
    """The touched keys and those that they went to or came from, and how many moves in a row."""
    joined = [m for m in moves if m.old is not None]
    if not joined:
        return touched, 0
    schema = ", ".join(f"`{n}` {cdc.sql_type(contract.column(n))}" for n in contract.key)
    ends = {key for m in joined for key in (m.old, m.new) if key is not None}
    frame = touched.sparkSession.createDataFrame(sorted(ends, key=repr), schema)
    keys = list(contract.key)
    seen = {tuple(r) for r in frame.join(touched, keys, "left_semi").collect()}
    reached = set(seen)
    while more := {k for m in joined for k in (m.old, m.new) if {m.old, m.new} & reached} - reached:
        reached |= {key for key in more if key is not None}
    if not reached:
        return touched, 0
    others = touched.sparkSession.createDataFrame(sorted(reached, key=repr), schema)
    return touched.union(others).distinct(), in_a_row([m for m in joined if m.new in reached])


def in_a_row(moves: list[Move]) -> int:
    """The longest way that a value has to go."""
    longest: dict[Any, int] = {}
    joined = (m for m in moves if m.old is not None)
    for move in sorted(joined, key=lambda m: m.lsn):
        longest[move.new] = max(longest.get(move.new, 0), 1 + longest.get(move.old, 0))
    return max(longest.values(), default=0)


def _move(row: Any, contract: Contract) -> Move:
    old = tuple(row[f"old_{name}"] for name in contract.key)
    new = tuple(row[f"new_{name}"] for name in contract.key)
    return Move(row["_lsn"], None if old[0] is None else old, new)
