"""`millrace certify` on a real warehouse: what it says and how it exits."""

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from millrace.commands.certify import certify
from millrace.stack import Stack
from orchestration import control
from pipelines.certificate import ledger
from pipelines.certificate.comparing import Figures, Verdict
from pipelines.certificate.drilling import Break
from pipelines.visibility import Cut
from schemas import contract as contracts

RUNNER = CliRunner()
LOST = Break("cards", "bronze", "missing", 2, "k1", "k2", 0x1_0000_0010, 0x1_0000_0020)


@pytest.fixture
def app(postgres_only: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[typer.Typer]:
    for name, text in postgres_only.env.items():
        monkeypatch.setenv(name, text)
    app = typer.Typer()
    app.command()(certify)
    yield app
    ledger.settle(postgres_only.env["MILLRACE_WAREHOUSE_DSN"], ["cards"], "the test is over")


def record(stack: Stack, *breaks: Break) -> None:
    dsn = stack.env["MILLRACE_WAREHOUSE_DSN"]
    cut_id = control.record_cut(dsn, Cut.from_snapshot(0x1_0000_0030, "10:10:"))
    hops = {"source": Figures(1234, 5), "bronze": Figures(1234 - 2 * len(breaks), 4, duplicates=7)}
    verdicts = [Verdict("cards", hops, breaks)]
    ledger.record(dsn, cut_id, ledger.WINDOW, {"cards": cut_id}, verdicts)
    names = [c.entity for c in contracts.load_all()]
    ledger.certify(dsn, cut_id, "bronze:x", {name: ledger.Place(1, 1, 1) for name in names})
    ledger.close(dsn, cut_id, ledger.WINDOW, cut_id, 1234, 0.4)


def test_a_proven_cut_exits_with_zero_and_says_how_far_each_table_is_complete(
    app: typer.Typer, postgres_only: Stack
) -> None:
    record(postgres_only)
    shown = RUNNER.invoke(app, [])
    assert shown.exit_code == 0, shown.output
    assert "1,234" in shown.output
    assert "1/30" in shown.output
    every = len(contracts.load_all())
    assert f"{every} of {every} tables are proven, 0 breaks" in shown.output
    assert "holds" not in shown.output
    assert "holds" in RUNNER.invoke(app, ["--all"]).output


def test_a_break_is_named_and_exits_with_one(app: typer.Typer, postgres_only: Stack) -> None:
    record(postgres_only, LOST)
    shown = RUNNER.invoke(app, [])
    assert shown.exit_code == 1
    assert "BREAK cards: missing at bronze, 2 keys (k1 .. k2), LSN 1/10 .. 1/20" in shown.output
    assert RUNNER.invoke(app, ["--table", "holds"]).exit_code == 0


def test_a_warehouse_that_is_down_is_said_plainly(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_WAREHOUSE_DSN", "postgresql://127.0.0.1:1/warehouse")
    shown = RUNNER.invoke(app, [])
    assert shown.exit_code == 1
    assert "millrace up" in shown.output
