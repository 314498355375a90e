"""Waits of many cases in one run are those of the fold, also when an answer changed its case."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.projections import readiness, waits
from pipelines.projections.readiness import CASE, COMPLIANCE, RISK, Signal

pytestmark = pytest.mark.spark
NOW = datetime(2026, 3, 1, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
DAY = readiness.DAY_US
ORDERED = "_commit_lsn long, _streamed int, _lsn long, _changed_at long, _is_deleted boolean"
TIMES = ("_changed_at", "created_at", "submitted_at")


def frame(spark: Any, rows: list[tuple[Any, ...]], columns: str) -> Any:
    made = spark.createDataFrame(rows, f"{columns}, {ORDERED}")
    return made.selectExpr(
        *(f"timestamp_micros({n}) as {n}" if n in TIMES else n for n in made.columns),
        "false as _is_current" if "submitted_at" not in made.columns else "true as _is_current",
    )


def test_every_case_has_the_wait_that_its_signals_fold_to(spark: Any) -> None:
    chance = random.Random(5)
    wanted: dict[str, list[Signal]] = defaultdict(list)
    cases, risks, checks = [], [], []
    for n in range(80):
        id_, lsn = f"case-{n}", 1000 * n
        submitted = NOW_US - chance.choice([5, 50]) * DAY
        status = chance.choice(["PENDING_REVIEW", "APPROVED", "REJECTED"])
        place = (lsn + 500, 1, lsn + 500)
        cases.append((id_, status, submitted, submitted, *place, submitted, False))
        wanted[id_].append(Signal(place, CASE, id_, "SUBMITTED", status, submitted, submitted))
        for state in chance.choice([[], ["IN_PROGRESS"], ["IN_PROGRESS", "COMPLETED"],
                                    ["REJECTED"], ["COMPLETED", "COMPLETED"]]):  # fmt: skip
            lsn += chance.randint(1, 300)
            at = submitted + lsn
            risks.append((f"risk-{n}", id_, state, submitted, lsn, 1, lsn, at, False))
            wanted[id_].append(
                Signal((lsn, 1, lsn), RISK, f"risk-{n}", "RISK", state, submitted, at)
            )
        was = None
        for state in chance.choice([[], ["CLEAR"], ["PENDING", "CLEAR"], ["CONFIRMED_MATCH"]]):
            lsn += chance.randint(1, 300)
            at = submitted + lsn
            owner = chance.choice([id_, id_, "case-0"])
            row = f"check-{n}"
            gone = chance.random() < 0.1
            checks.append((row, owner, state, "SANCTIONS", None, submitted, lsn, 1, lsn, at, gone))
            told = None if gone else state
            about = (COMPLIANCE, row, "SANCTIONS")
            wanted[owner].append(Signal((lsn, 1, lsn), *about, told, submitted, at))
            if was not in (None, owner):
                wanted[was].append(Signal((lsn, 1, lsn), *about, None, submitted, at))
            was = owner
    for rows in (cases, risks, checks):
        chance.shuffle(rows)
    # A redelivered change is in history once; the fold would not mind it either.
    histories = {
        "onboarding_cases": frame(
            spark, cases, "case_id string, status string, submitted_at long, created_at long"
        ),
        "risk_assessments": frame(
            spark, risks, "risk_assessment_id string, case_id string, status string,"
            " created_at long",
        ),
        "aml_checks": frame(
            spark, checks, "aml_check_id string, case_id string, status string,"
            " check_type string, beneficial_owner_id string, created_at long",
        ),
    }  # fmt: skip
    made = waits.waits(histories, NOW)
    found = {
        row["case_id"]: row.asDict()
        for row in made.withColumn("ready_at", made["ready_at"].cast("double")).collect()
    }
    assert found.keys() == wanted.keys()
    for id_, signals in wanted.items():
        said = readiness.fold(signals, NOW_US)
        row = found[id_]
        assert (row["state"], row["risk"], row["compliance"]) == (
            said.state,
            said.risk,
            said.compliance,
        ), id_
        assert (row["is_late"], row["undo"], row["was_hasty"]) == (
            said.is_late,
            said.undo,
            said.was_hasty,
        )
        ready = row["ready_at"]
        assert (None if ready is None else round(ready * 1_000_000)) == said.ready_at_us
    assert len({row["state"] for row in found.values()}) >= 5
