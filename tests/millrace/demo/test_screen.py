"""The closing screen says what was shown, and says so when it was not."""

import io
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from millrace.demo.report import CheckSummary, Decisions, DemoReport, LayerRow, TieOutRow
from millrace.demo.screen import show

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = DemoReport(
    layers=(LayerRow("payments", 1200, 1300, 1200, 3, 1, 1200),),
    decisions=(
        Decisions(
            via="gateway",
            asked=100,
            approved=90,
            declined_by_reason={"INSUFFICIENT_CREDIT": 8, "CARD_LOST": 2},
            unanswered=0,
            latency_ms=tuple(float(n) for n in range(1, 101)),
        ),
    ),
    feature_entity="card 7",
    features={"card_attempts_1h": 4},
    features_as_of="2026-01-02T03:04:05Z",
    freshness=(("gold", AT), ("silver", None)),
    checks=CheckSummary(passed=40, failed=0),
    tie_out=(TieOutRow("payments", "due_amount_minor", "USD", 500, 500, 500),),
    cut_lsn="0/1A2B3C",
    cut_at=AT,
    addresses=(("Dagster", "http://127.0.0.1:3000"),),
    sources=("simulator, seed 7",),
    seconds={"start": 12.0},
)


def drawn(report: DemoReport) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(console, report)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_percentiles_are_of_the_answers() -> None:
    gateway = GOOD.decisions[0]
    assert (gateway.percentile_ms(0.5), gateway.percentile_ms(0.99)) == (51.0, 100.0)
    assert replace(gateway, latency_ms=()).percentile_ms(0.5) is None


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
    ):
        assert expected in text


def test_a_difference_of_one_is_a_problem() -> None:
    report = replace(GOOD, tie_out=(TieOutRow("payments", "rows", "", 500, 500, 499),))
    assert "gold 499" in report.problems[0]
    assert "Not as promised" in drawn(report)


def test_no_tie_out_and_no_answers_are_problems() -> None:
    silent = replace(GOOD.decisions[0], latency_ms=())
    report = replace(GOOD, tie_out=(), decisions=(silent,))
    assert len(report.problems) == 2
