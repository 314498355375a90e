"""`millrace tieout` on a real warehouse: what it says and how it exits."""

import pytest
import typer
from typer.testing import CliRunner

from millrace.commands.tieout import tieout
from millrace.stack import Stack
from orchestration import control
from orchestration.tie_out import Figure
from pipelines.visibility import Cut

RUNNER = CliRunner()


@pytest.fixture
def app(postgres_only: Stack, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    for name, text in postgres_only.env.items():
        monkeypatch.setenv(name, text)
    app = typer.Typer()
    app.command()(tieout)
    return app


def record(stack: Stack, *figures: Figure) -> None:
    dsn = stack.env["MILLRACE_WAREHOUSE_DSN"]
    cut_id = control.record_cut(dsn, Cut.from_snapshot(1, "10:10:"))
    control.record_tie_out(dsn, cut_id, figures)


def test_equal_figures_exit_with_zero(app: typer.Typer, postgres_only: Stack) -> None:
    record(postgres_only, Figure("payments", "rows", "", 1234, 1234, 1234, 1234))
    shown = RUNNER.invoke(app, [])
    assert shown.exit_code == 0
    assert "1,234" in shown.output
    assert "all exact" in shown.output


def test_one_difference_exits_with_one_and_is_marked(
    app: typer.Typer, postgres_only: Stack
) -> None:
    same = Figure("cards", "rows", "", 2, 2, 2, 2)
    record(postgres_only, same, Figure("payments", "due_amount_minor", "EUR", 900, 900, 899, 900))
    shown = RUNNER.invoke(app, ["--differences"])
    assert shown.exit_code == 1
    assert "NO" in shown.output
    assert "cards" not in shown.output
    assert "1 differ" in shown.output


def test_a_warehouse_that_is_down_is_said_plainly(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_WAREHOUSE_DSN", "postgresql://127.0.0.1:1/warehouse")
    shown = RUNNER.invoke(app, [])
    assert shown.exit_code == 1
    assert "millrace up" in shown.output
