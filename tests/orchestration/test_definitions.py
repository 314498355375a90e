"""The graph as a whole: every asset and check, and what each says of itself."""

import json
import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from expectations import catalog
from orchestration import reconciling
from orchestration.definitions import defs
from orchestration.quality import CONTRACT
from schemas import contract

SNAPSHOT = Path(__file__).with_name("graph.json")
CONTRACTS = contract.load_published()


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    return defs.resolve_asset_graph()


def found(graph: AssetGraph) -> dict[str, list[str]]:
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    keys = sorted(key.to_user_string() for key in graph.get_all_asset_keys())
    return {key: sorted(checks.get(key, ())) for key in keys}


def test_assets_and_checks_are_those_of_the_snapshot(graph: AssetGraph) -> None:
    """Refactoring shows here what it changes: UPDATE_SNAPSHOT=1 accepts it."""
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(found(graph), indent=1) + "\n")
    assert found(graph) == json.loads(SNAPSHOT.read_text())


@pytest.mark.parametrize("one", CONTRACTS, ids=lambda c: c.entity)
def test_every_contract_goes_from_table_to_warehouse(
    graph: AssetGraph, one: contract.Contract
) -> None:
    def parents(*path: str) -> set[str]:
        keys = graph.get(dg.AssetKey(path)).parent_keys
        return {key.to_user_string() for key in keys}

    assert f"bronze/{one.entity}" in parents("silver", one.entity)
    assert f"silver/{one.entity}" in parents("warehouse", one.entity)
    assert f"kafka/{one.topic}" in parents("bronze", one.entity)
    assert "connectors/oltp_postgres" in parents("kafka", one.topic)
    assert f"warehouse/{one.entity}" in parents("staging", f"stg_silver__{one.entity}")


@pytest.mark.parametrize("one", CONTRACTS, ids=lambda c: c.entity)
def test_every_business_truth_is_a_check_of_its_own(
    graph: AssetGraph, one: contract.Contract
) -> None:
    names = {rule.name for rule in catalog.rules(one) if rule.expect is not None}
    checks = set(found(graph)[f"silver/{one.entity}"])
    assert names | {CONTRACT} <= checks


def test_every_table_states_its_columns(graph: AssetGraph) -> None:
    layers = {"oltp", "bronze", "silver", "warehouse", "staging", "gold_credit", "gold_compliance"}
    silent = [
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if key.path[0] in layers and not graph.get(key).metadata.get("dagster/column_schema")
    ]
    assert not silent


def test_nothing_hangs_in_the_air(graph: AssetGraph) -> None:
    """Only operational tables and the request topic have no origin."""
    roots = {key.path[0] for key in graph.get_all_asset_keys() if not graph.get(key).parent_keys}
    assert roots <= {"oltp", "kafka", "control"}


def test_the_tie_out_comes_last_and_waits_for_every_layer(graph: AssetGraph) -> None:
    parents = graph.get(dg.AssetKey(["control", "tie_outs"])).parent_keys
    assert dg.AssetKey(["gold_credit", "mart_tie_out"]) in parents
    assert {dg.AssetKey(["silver", c.entity]) for c in CONTRACTS} <= parents


def test_the_job_runs_everything_that_is_made_here_and_only_that(graph: AssetGraph) -> None:
    job = defs.resolve_job_def("refresh")
    made = {key for key in graph.get_all_asset_keys() if graph.get(key).is_materializable}
    assert set(job.asset_layer.executable_asset_keys) == made - {reconciling.RECONCILIATION}


def test_settlement_is_reconciled_every_hour_beside_the_ticks() -> None:
    (schedule,) = defs.schedules or ()
    assert schedule.cron_schedule == "7 * * * *"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    job = defs.resolve_job_def(schedule.job_name)
    assert set(job.asset_layer.executable_asset_keys) == {reconciling.RECONCILIATION}
    assert "tick" not in job.get_required_resource_defs()


def test_sensors_run_by_themselves() -> None:
    sensors = list(defs.sensors or ())
    assert {sensor.name for sensor in sensors} == {
        "capture_guard", "kafka_news", "orphaned_runs", "stream_lag",
    }  # fmt: skip
    assert all(s.default_status == dg.DefaultSensorStatus.RUNNING for s in sensors)
