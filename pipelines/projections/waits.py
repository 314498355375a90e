"""The wait of every case for risk and compliance, from silver's histories, pure.

A signal is a change of a risk assessment, of a search of lists or of the case itself, ordered by
its commit among all of them: no clock and no arrival has a part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.cdc import ORDER
from pipelines.projections import readiness
from pipelines.projections.readiness import CASE, COMPLIANCE, RISK, SUBMITTED, Signal

# Read with their histories.
INPUTS = ("onboarding_cases", "risk_assessments", "aml_checks")


def waits(histories: Mapping[str, DataFrame], now: datetime) -> DataFrame:
    """One row a case that is there: where its wait stands at `now`."""
    cases = histories["onboarding_cases"]
    signals = (
        cases.selectExpr(
            "case_id",
            *_signal(
                CASE,
                "case_id",
                f"if(submitted_at is null, 'OPEN', '{SUBMITTED}')",
                "coalesce(submitted_at, created_at)",
            ),
            "status",
        )
        .unionByName(_answers(histories["risk_assessments"], RISK, "risk_assessment_id", "'RISK'"))
        .unionByName(
            _answers(
                histories["aml_checks"],
                COMPLIANCE,
                "aml_check_id",
                "concat_ws(':', check_type, beneficial_owner_id)",
            )
        )
    )
    there = cases.where("_is_current and not _is_deleted").select("case_id")
    told = F.struct(*ORDER, "side", "subject", "kind", "status", "made_at_us", "at_us")
    return (
        signals.join(there, "case_id", "left_semi")
        .groupBy("case_id")
        .agg(F.collect_list(told).alias("told"))
        .select("case_id", F.udf(_folded, _WAIT)("told", F.unix_micros(F.lit(now))).alias("wait"))
        .selectExpr(
            "case_id",
            "wait.state",
            "wait.risk",
            "wait.compliance",
            "timestamp_micros(wait.ready_at) as ready_at",
            "timestamp_micros(wait.deadline_at) as deadline_at",
            "wait.is_late",
            "wait.undo",
            "wait.was_hasty",
        )
    )


def _answers(history: DataFrame, side: str, key: str, kind: str) -> DataFrame:
    """Signals of one side; a row that went to another case is gone from the one it was in."""
    order = Window.partitionBy(key).orderBy(*ORDER)
    rows = history.withColumn("_was", F.lag("case_id").over(order))
    signal = _signal(side, key, kind, "created_at")
    here = rows.where("case_id is not null").selectExpr(
        "case_id", *signal, "if(_is_deleted, null, status) as status"
    )
    gone = rows.where("_was is not null and not (_was <=> case_id)").selectExpr(
        "_was as case_id", *signal, "cast(null as string) as status"
    )
    return here.unionByName(gone)


def _signal(side: str, key: str, kind: str, made_at: str) -> list[str]:
    return [
        *ORDER,
        f"'{side}' as side",
        f"{key} as subject",
        f"{kind} as kind",
        f"unix_micros({made_at}) as made_at_us",
        "unix_micros(_changed_at) as at_us",
    ]


def _folded(told: Sequence[Any], now_us: int) -> tuple[Any, ...]:
    made = readiness.fold((Signal(tuple(row[:3]), *row[3:]) for row in told), now_us)
    return (
        made.state,
        made.risk,
        made.compliance,
        made.ready_at_us,
        made.deadline_at_us,
        made.is_late,
        made.undo,
        made.was_hasty,
    )


_WAIT = (
    "state string, risk string, compliance string, ready_at bigint, deadline_at bigint,"
    " is_late boolean, undo array<string>, was_hasty boolean"
)
