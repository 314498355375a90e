"""`millrace lineage` on a small event store."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from millrace.commands.lineage import lineage

EVENT = {
    "eventType": "COMPLETE",
    "job": {"name": "dbt.mart_x"},
    "inputs": [{"namespace": "postgres://h:1", "name": "warehouse.silver.payments"}],
    "outputs": [
        {
            "namespace": "postgres://h:1",
            "name": "warehouse.gold_credit.mart_x",
            "facets": {
                "columnLineage": {
                    "fields": {
                        "paid_minor": {
                            "inputFields": [
                                {
                                    "namespace": "postgres://h:1",
                                    "name": "warehouse.silver.payments",
                                    "field": "paid_amount_minor",
                                }
                            ]
                        }
                    }
                }
            },
        }
    ],
}
RUNNER = CliRunner()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    (tmp_path / "lineage").mkdir()
    (tmp_path / "lineage" / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    app = typer.Typer()
    app.command()(lineage)
    return app


def test_a_column_is_drawn_with_its_sources(app: typer.Typer) -> None:
    shown = RUNNER.invoke(app, ["gold_credit.mart_x.paid_minor"])
    assert shown.exit_code == 0
    assert "postgres warehouse.gold_credit.mart_x.paid_minor  by dbt.mart_x" in shown.output
    assert "└── postgres warehouse.silver.payments.paid_amount_minor" in shown.output


def test_the_tree_is_also_json(app: typer.Typer) -> None:
    shown = RUNNER.invoke(app, ["mart_x.paid_minor", "--json"])
    (source,) = json.loads(shown.output)["sources"]
    assert (source["dataset"], source["column"]) == (
        "warehouse.silver.payments",
        "paid_amount_minor",
    )


def test_an_unknown_name_ends_with_close_ones(app: typer.Typer) -> None:
    shown = RUNNER.invoke(app, ["mart_y"])
    assert shown.exit_code == 1
    assert "did you mean" in shown.output
    assert "mart_x" in shown.output


def test_an_empty_store_says_what_to_do(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "lineage" / "events.jsonl").unlink()
    shown = RUNNER.invoke(app, ["mart_x"])
    assert shown.exit_code == 1
    assert "millrace demo" in shown.output
