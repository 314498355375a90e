"""The closing screen says what was shown, and says so when it was not."""

import io
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from millrace.demo.report import CheckSummary, DemoReport, LayerRow, Proof
from millrace.demo.screen import show
from oltp.simulator import Answers
from orchestration.tie_out import Figure

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANSWERS = Answers(
    via="HTTP",
    asked=100,
    outcomes=Counter(APPROVED=90, DECLINED=10),
    declined_by_reason=Counter(INSUFFICIENT_CREDIT=8, CARD_LOST=2),
    latency_ms=[float(n) for n in range(1, 101)],
)
GOOD = DemoReport(
    sources=("simulator, seed 7",),
    layers=(LayerRow("payments", 1300, 1),),
    answers=(ANSWERS,),
    changes={"payment made": 3},
    feature_entity="card 7",
    features={"card_attempts_1h": 4},
    features_note="as of 2026-01-02T03:04:05Z",
    freshness=(("gold", AT), ("silver", None)),
    checks=CheckSummary(passed=40),
    tie_out=(
        Figure("payments", "rows", "", 1200, 1200, 1200, 1200),
        Figure("payments", "due_amount_minor", "USD", 500, 500, 500, 500),
    ),
    cut_lsn="0/1A2B3C",
    cut_at=AT,
    addresses=(("Dagster", "http://127.0.0.1:3000"),),
    proofs=(Proof("double entry", "9 controls over 1,200 postings"),),
    seconds={"start": 12.0},
)


def drawn(report: DemoReport) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(console, report)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_good_run_ties_out() -> None:
    text = drawn(GOOD)
    assert "Everything ties out" in text
    for expected in (
        "payments",
        "90.0%",
        "INSUFFICIENT_CREDIT",
        "51",
        "card_attempts_1h",
        "0/1A2B3C",
        "9 controls over 1,200 postings",
    ):
        assert expected in text


def test_a_difference_of_one_is_a_problem() -> None:
    report = replace(GOOD, tie_out=(Figure("payments", "rows", "", 500, 500, 500, 499),))
    assert "gold 499" in report.problems[0]
    assert "Not as promised" in drawn(report)


def test_no_tie_out_and_no_answers_are_problems() -> None:
    silent = replace(ANSWERS, latency_ms=[])
    report = replace(GOOD, tie_out=(), answers=(silent,))
    assert len(report.problems) == 2


def test_a_failed_check_is_a_problem() -> None:
    report = replace(GOOD, checks=CheckSummary(passed=1, failed=("payments: paid_covers_due",)))
    assert "paid_covers_due" in report.problems[0]


def test_what_a_proof_finds_is_a_problem() -> None:
    broken = Proof("audit", "7 changes chained", ("edited: change 5",))
    report = replace(GOOD, proofs=(broken,))
    assert report.problems == ("audit: edited: change 5",)
    assert "Not as promised" in drawn(report)
