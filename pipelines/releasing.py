"""Quarantined changes on their way back: what was released re-enters the next build, once.

Bronze is never changed. A released change comes again with its own bytes and order, its patch over
what was captured, and is judged like any other: valid, it takes its place among the states of its
key; broken still, it is held again with the reasons of today. On replay: the same change is the
same state, so a build that dies before it has written down what it applied repeats it unharmed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import cdc, decisions, delta, lake
from pipelines.decisions import DecidedMeanwhile, Decision, Place, Reasons
from schemas.contract import Contract

COORDINATES = ["topic", "partition", "offset"]
TRIES = 10


def released(
    spark: SparkSession, lake_folder: Path, contract: Contract, *, again: bool
) -> DataFrame | None:
    """Released records in bronze's columns and `patch`; None, without a Spark job, when none.

    `again`: silver is built from the start, so records that were applied before come again too.
    """
    states = (decisions.RELEASED, decisions.APPLIED) if again else (decisions.RELEASED,)
    stand = decisions.standing(decisions.all_of(lake_folder, contract.entity))
    rows = decisions.by_state(stand, *states)
    if not rows:
        return None
    wanted = spark.createDataFrame(
        [
            (r.place.topic, r.place.partition, r.place.offset, json.dumps(dict(r.patch or {})))
            for r in rows
        ],
        "topic string, partition int, offset bigint, patch string",
    )
    offsets = [row.place.offset for row in rows]
    # Bronze has the bytes for ever; the bounds spare most of its files.
    arrived = delta.read(spark, lake.bronze(lake_folder)).where(
        (F.col("entity") == contract.entity) & F.col("offset").between(min(offsets), max(offsets))
    )
    return arrived.join(F.broadcast(wanted), COORDINATES)


def joined(arrived: DataFrame, released_: DataFrame) -> DataFrame:
    """Both; a record that is released comes only as it was released."""
    places = F.broadcast(released_.select(*COORDINATES))
    others = arrived.join(places, COORDINATES, "left_anti")
    return others.unionByName(released_, allowMissingColumns=True)


def patched(changes: DataFrame, contract: Contract) -> DataFrame:
    """The changes with their `_patch` laid over what was captured, pure."""
    if "_patch" not in changes.columns:
        return changes
    names = {column.name: column for column in contract.columns}
    laid = {
        name: F.expr(
            f"case when map_contains_key(_laid, '{name}')"
            f" then try_cast(_laid['{name}'] as {cdc.sql_type(column)}) else `{name}` end"
        ).alias(name)
        for name, column in names.items()
        if name not in contract.key
    }
    # What the patch says was neither wrong nor left out.
    for marks in ("_wrong", "_unchanged", "_dropped"):
        if marks in changes.columns:
            laid[marks] = F.expr(f"array_except({marks}, map_keys(_laid))").alias(marks)
    read = "coalesce(from_json(_patch, 'map<string,string>'), map())"
    return changes.withColumn("_laid", F.expr(read)).select(
        *(laid.get(name, F.col(f"`{name}`")) for name in changes.columns)
    )


def settle(
    spark: SparkSession, lake_folder: Path, contract: Contract, judged: DataFrame, tick: int
) -> None:
    """After a build's writes: what it took of the released is applied, or held for new reasons."""
    if "_patch" not in judged.columns:
        return
    found = (
        judged.where("_patch is not null and _visible")
        .selectExpr(
            "_topic",
            "_partition",
            "_offset",
            "transform(_reasons, x -> array(x.rule, x.message)) as reasons",
        )
        .collect()
    )
    valid: dict[Place, Reasons] = {}
    broken: dict[Place, Reasons] = {}
    for record in found:
        place = Place(record["_topic"], record["_partition"], record["_offset"])
        reasons = tuple((rule, message) for rule, message in record["reasons"])
        (broken if reasons else valid)[place] = reasons
    _write_down(lake_folder, contract.entity, decisions.APPLIED, valid, f"applied at tick {tick}")
    _write_down(lake_folder, contract.entity, decisions.HELD, broken, "it is still broken")


def _write_down(
    lake_folder: Path, entity: str, state: str, taken: Mapping[Place, Reasons], why: str
) -> None:
    """What has happened is written down whatever else was decided meanwhile."""
    for _ in range(TRIES):
        after = decisions.last(lake_folder, entity)
        stand = decisions.standing(decisions.all_of(lake_folder, entity)).values()
        # By place: what could not be read before may say now which change it is. The patch stays
        # with it: a build from the start lays it over again.
        news = tuple(
            replace(one.row, reasons=taken[one.row.place])
            for one in stand
            if one.row.place in taken and one.state != state
        )
        if not news:
            return
        made = Decision(state, news, decisions.BUILD, why)
        try:
            decisions.decide(lake_folder, entity, made, after)
        except DecidedMeanwhile:
            continue
        return
    raise DecidedMeanwhile(f"{entity}: others decide about its quarantined changes all the time")
