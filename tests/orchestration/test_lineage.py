"""What is emitted can be read back, and the way back ends at the source."""

import json
from pathlib import Path

import pytest

from orchestration import column_lineage, lineage_graph
from orchestration.datasets import Dataset, Datasets
from orchestration.lineage import Assertion, Emitter
from schemas import contract

CREDITS = contract.load("active_credits")
COLUMN = "outstanding_principal_minor"
WHERE = Datasets(
    oltp_dsn="postgresql://app_rw:secret@127.0.0.1:5433/oltp",
    warehouse_dsn="postgresql://warehouse_rw:secret@127.0.0.1:5433/warehouse",
    kafka="127.0.0.1:9092",
    lake=Path("/lake"),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(path))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    return path


@pytest.fixture
def emitter(store: Path) -> Emitter:
    return Emitter("01926e2c-0000-7000-8000-000000000001")


def emit_the_whole_way(emitter: Emitter) -> None:
    mart = WHERE.warehouse("gold_credit.mart_credit_summary")
    chain = [
        ("capture", WHERE.operational(CREDITS), WHERE.topic(CREDITS)),
        ("bronze", WHERE.topic(CREDITS), WHERE.bronze(CREDITS)),
        ("silver.active_credits", WHERE.bronze(CREDITS), WHERE.silver(CREDITS)),
        ("publish.active_credits", WHERE.silver(CREDITS), WHERE.published(CREDITS)),
        ("dbt.mart_credit_summary", WHERE.published(CREDITS), mart),
    ]
    for job, source, target in chain:
        with emitter.step(job, [source]) as step:
            step.writes(target, column_lineage.declared(CREDITS, source), rows=3)


def events(store: Path) -> list[dict]:
    return [json.loads(line) for line in store.read_text().splitlines()]


def test_a_gold_column_leads_back_to_the_operational_column(store: Path, emitter: Emitter) -> None:
    emit_the_whole_way(emitter)
    origin = lineage_graph.read(store).way_back(f"gold_credit.mart_credit_summary.{COLUMN}")
    way = []
    while True:
        way.append((origin.dataset, origin.column))
        if not origin.sources:
            break
        (origin,) = origin.sources
    assert way == [
        (WHERE.warehouse("gold_credit.mart_credit_summary"), COLUMN),
        (WHERE.published(CREDITS), COLUMN),
        (WHERE.silver(CREDITS), COLUMN),
        (WHERE.bronze(CREDITS), COLUMN),
        (WHERE.topic(CREDITS), COLUMN),
        (WHERE.operational(CREDITS), COLUMN),
    ]


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("silver.active_credits", WHERE.published(CREDITS)),
        ("delta.silver.active_credits", WHERE.silver(CREDITS)),
        ("bronze.active_credits", WHERE.bronze(CREDITS)),
        ("oltp.credit.active_credits", WHERE.operational(CREDITS)),
        ("kafka.oltp.credit.active_credits", WHERE.topic(CREDITS)),
        ("mart_credit_summary", WHERE.warehouse("gold_credit.mart_credit_summary")),
    ],
)
def test_every_layer_has_a_short_name(
    store: Path, emitter: Emitter, name: str, dataset: Dataset
) -> None:
    emit_the_whole_way(emitter)
    assert lineage_graph.read(store).way_back(name).dataset == dataset


def test_an_unknown_name_is_answered_with_close_ones(store: Path, emitter: Emitter) -> None:
    emit_the_whole_way(emitter)
    graph = lineage_graph.read(store)
    with pytest.raises(lineage_graph.UnknownNameError, match="mart_credit_summary"):
        graph.way_back("mart_credit_sumary")
    with pytest.raises(lineage_graph.UnknownNameError, match=COLUMN):
        graph.way_back("mart_credit_summary.outstanding_principal")


def test_a_step_starts_and_completes_under_its_run(store: Path, emitter: Emitter) -> None:
    with emitter.step("silver.payments", []):
        pass
    start, complete = events(store)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    parent = complete["run"]["facets"]["parent"]["run"]["runId"]
    assert parent == "01926e2c-0000-7000-8000-000000000001"


def test_a_step_that_breaks_fails_with_its_message_and_the_error_goes_on(
    store: Path, emitter: Emitter
) -> None:
    with pytest.raises(ValueError, match="no such column"), emitter.step("silver.payments"):
        raise ValueError("no such column")
    failed = events(store)[-1]
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "no such column"


def test_checks_are_assertions_about_their_table(store: Path, emitter: Emitter) -> None:
    silver = WHERE.silver(CREDITS)
    with emitter.step("check.active_credits", [silver], "GREAT_EXPECTATIONS") as step:
        step.checked(silver, [Assertion("outstanding_within_principal", False, "error")])
    (checked,) = events(store)[-1]["inputs"]
    (assertion,) = checked["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert assertion["assertion"] == "outstanding_within_principal"
    assert assertion["success"] is False


def test_a_line_cut_short_by_a_kill_is_passed_over(store: Path, emitter: Emitter) -> None:
    emit_the_whole_way(emitter)
    with store.open("a") as file:
        file.write('{"eventType": "COMP')
    assert lineage_graph.read(store).way_back("mart_credit_summary").sources
