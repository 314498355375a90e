"""`millrace backtest`: what a draft would have said, as tables and as a document."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.millrace.commands.conftest import BEGIN

SPAN = ("--from", BEGIN.isoformat(), "--to", (BEGIN + timedelta(days=2)).isoformat())


@pytest.fixture(scope="module")
def decided(office):
    office.decide()
    office.decide(at=BEGIN + timedelta(days=1))
    return office


def test_a_file_is_run_over_the_past_and_nothing_is_written(decided):
    file = decided.draft("tried-1")
    shown = decided.run("backtest", file, *SPAN)
    assert shown.exit_code == 0, shown.stderr
    for said in ("tried-1", "50.00 %", "VELOCITY_EXCEEDED", "6,000 USD", "changed per day"):
        assert said in shown.stdout
    assert "tried-1" not in decided.run("rules", "list").stdout


def test_a_program_gets_a_document(decided):
    told = decided.run("backtest", decided.draft("tried-1"), *SPAN, "--json", "--examples", "1")
    document = json.loads(told.stdout)
    assert (document["judged"], document["changed"]["decisions"]) == (12, 6)
    assert document["newly_declined"] == {"decisions": 6, "amounts_minor": {"USD": 6_000}}
    assert [day["changed"] for day in document["days"].values()] == [3, 3]
    assert len(document["examples"]) == 1


def test_what_decides_changes_nothing(decided):
    active = json.loads(decided.run("rules", "list", "--json").stdout)[0]["version"]
    document = json.loads(decided.run("backtest", active, *SPAN, "--json").stdout)
    assert (document["same"]["decisions"], document["changed"]["decisions"]) == (12, 0)


def test_progress_goes_to_the_side_of_the_answer(decided):
    told = decided.run("backtest", decided.draft("tried-1"), *SPAN, "--json", "--progress")
    assert json.loads(told.stdout)["judged"] == 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "no version of the rules is called 'nowhere'"),
        (("missing.yaml",), "missing.yaml"),
        (("tried", "--from", "soon"), "write 2026-11-30"),
    ],
)
def test_what_is_wrong_is_said(decided, words, said):
    refused = decided.run("backtest", *words)
    assert refused.exit_code != 0
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
