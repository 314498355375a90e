"""Every captured table has silver from its contract alone: a row made, changed, removed of each."""

import time
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import delta, lake
from pipelines.refresh import build_all, build_silver
from schemas import contract as contracts

pytestmark = [pytest.mark.spark, pytest.mark.long]
CONTRACTS = contracts.load_all()


@pytest.fixture(scope="module")
def built(spark, make_source, everything) -> SimpleNamespace:
    """One lake, all entities: bronze in one batch, then every silver table."""
    first = make_source(CONTRACTS[0].entity)
    records, schemas = [], {}
    for contract in CONTRACTS:
        s = type(first)(spark, first.folder, contract, schemas)
        s.offset = len(records)
        changed = dict.fromkeys(_optional(contract))
        records += [
            s.change("c", s.row(1), 110, 100),
            s.change("c", s.row(2), 120, 100),
            s.change("u", s.row(2, **changed), 130, 125),
            s.change("c", s.row(3), 140, 135),
            s.change("d", s.row(3), 150, 145),
        ]
    first.land(*records)
    results = build_all(spark, first.folder, CONTRACTS, everything, schemas.get)
    rows: dict[str, list[Any]] = defaultdict(list)
    for contract in CONTRACTS:
        rows[contract.entity] = delta.read(spark, lake.current(first.folder, contract)).collect()
    return SimpleNamespace(folder=first.folder, results=results, rows=rows, schemas=schemas)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.entity)
def test_a_row_made_changed_and_removed(built, contract) -> None:
    result = built.results[contract.entity]
    assert (result.quarantined, result.changed, result.deleted) == (0, 3, 1)
    by_op = {row["_op"]: row.asDict() for row in built.rows[contract.entity]}
    assert by_op.keys() == set("cud")
    assert [by_op[op]["_is_deleted"] for op in "cud"] == [False, False, True]
    names = [c.name for c in contract.columns]
    absent = {op: {n for n in names if by_op[op][n] is None} for op in "cud"}
    assert absent == {"c": set(), "u": set(_optional(contract)), "d": set()}


def test_nothing_new_runs_no_job_for_any_of_them(built, spark, everything) -> None:
    tracker = spark.sparkContext.statusTracker()
    spark.sparkContext.setJobGroup("nothing new", "")
    started = time.monotonic()
    for contract in CONTRACTS:
        built_again = build_silver(spark, built.folder, contract, everything, built.schemas.get)
        assert (built_again.rows_in, built_again.changed) == (0, 0)
    took_s = time.monotonic() - started
    assert not list(tracker.getJobIdsForGroup("nothing new"))
    assert took_s / len(CONTRACTS) < 0.25


def _optional(contract: Any) -> list[str]:
    """Columns that may be null in the row that is changed."""
    rules = " ".join(f"{check.when} {check.expect}" for check in contract.checks)
    return [c.name for c in contract.columns if not c.required and c.name not in rules]
