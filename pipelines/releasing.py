"""Quarantined changes on their way back: what was released re-enters the next build, once.

Bronze is never changed. A released change comes again with its own bytes and order, its patch over
what was captured, and is judged like any other: valid, it takes its place among the states of its
key; broken still, it is held again with the reasons of today. On replay: the same change is the
same state, so a build that dies before it has written down what it applied repeats it unharmed.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import cdc, decisions, delta, lake
from pipelines.decisions import DecidedMeanwhile, Decision, Place, Row
from schemas.contract import Contract

COORDINATES = ["topic", "partition", "offset"]
RECORD = ("entity", *COORDINATES, "key", "value", "key_schema_id", "value_schema_id", "batch_id",
          "ingested_at")  # fmt: skip
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
    if not rows or not delta.exists(lake.quarantine(lake_folder)):
        return None
    wanted = spark.createDataFrame(
        [
            (r.place.topic, r.place.partition, r.place.offset, json.dumps(dict(r.patch or {})))
            for r in rows
        ],
        "topic string, partition int, offset bigint, patch string",
    )
    kept = delta.read(spark, lake.quarantine(lake_folder)).where(F.col("entity") == contract.entity)
    return kept.select(*RECORD).join(F.broadcast(wanted), COORDINATES)


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
            "_topic", "_partition", "_offset", "_key", "_op", "_lsn",
            "transform(_reasons, x -> array(x.rule, x.message)) as reasons",
        )
        .collect()
    )  # fmt: skip
    valid: dict[str, Row] = {}
    broken: dict[str, Row] = {}
    for record in found:
        place = Place(record["_topic"], record["_partition"], record["_offset"])
        name = decisions.identity(
            contract.entity, place, record["_key"], record["_op"], record["_lsn"]
        )
        reasons = tuple((rule, message) for rule, message in record["reasons"])
        (broken if reasons else valid)[name] = Row(name, place, reasons=reasons)
    _write_down(lake_folder, contract.entity, decisions.APPLIED, valid, f"applied at tick {tick}")
    _write_down(lake_folder, contract.entity, decisions.HELD, broken, "it is still broken")


def _write_down(lake_folder: Path, entity: str, state: str, rows: dict[str, Row], why: str) -> None:
    """What has happened is written down whatever else was decided meanwhile."""
    for _ in range(TRIES):
        after = decisions.last(lake_folder, entity)
        stand = decisions.standing(decisions.all_of(lake_folder, entity))
        # The patch stays with the change: a build from the start lays it over again.
        news = tuple(
            Row(row.identity, row.place, stand[name].row.patch, row.reasons)
            for name, row in rows.items()
            if name in stand and stand[name].state != state
        )
        if not news:
            return
        try:
            decisions.decide(
                lake_folder, entity, Decision(state, news, decisions.BUILD, why), after
            )
        except DecidedMeanwhile:
            continue
        return
    raise DecidedMeanwhile(f"{entity}: others decide about its quarantined changes all the time")
