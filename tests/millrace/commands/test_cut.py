"""`millrace cut` on a real warehouse: what it says of tables and cuts, and how it exits."""

import json

import pytest
from typer.testing import CliRunner

from millrace.commands import cut
from millrace.commands.cut import Answer
from millrace.stack import Stack
from pipelines import publish
from pipelines.publish import Due
from tests.pipelines.published import ACCOUNTS, POSTINGS, a_cut, emptied, rows

RUNNER = CliRunner()


@pytest.fixture
def dsn(postgres_only: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, text in postgres_only.env.items():
        monkeypatch.setenv(name, text)
    return emptied(postgres_only.env["MILLRACE_WAREHOUSE_DSN"])


def entities(output: str) -> dict[str, dict]:
    return {table["entity"]: table for table in json.loads(output)["tables"]}


def test_a_table_that_was_held_back_is_named_with_its_reason(dsn: str) -> None:
    first, second = a_cut(dsn), a_cut(dsn)
    both = [Due(c, rows(c, 1), 1) for c in (ACCOUNTS, POSTINGS)]
    publish.publish_together(dsn, first, both)
    held = Due(ACCOUNTS, rows(ACCOUNTS, 2), 2, held_back_by="a_rule")
    publish.publish_together(dsn, second, [held, Due(POSTINGS, None, 1)])

    shown = RUNNER.invoke(cut.app, ["show"])
    assert shown.exit_code == 1
    assert "held back by a_rule" in shown.output
    assert "not at the newest cut" in shown.output
    told = entities(RUNNER.invoke(cut.app, ["show", "--json"]).stdout)
    assert (told["card_accounts"]["cut"], told["ledger_postings"]["cut"]) == (first, second)
    assert told["ledger_postings"]["is_newest"]


def test_cuts_are_listed_newest_first(dsn: str) -> None:
    first, second = a_cut(dsn), a_cut(dsn)
    publish.publish_together(dsn, first, [Due(ACCOUNTS, rows(ACCOUNTS, 1), 1)])
    listed = json.loads(RUNNER.invoke(cut.app, ["list", "--json"]).stdout)
    assert [one["cut"] for one in listed[:2]] == [second, first]
    assert listed[1]["published_at"]
    assert not listed[0]["published_at"]
    assert "0/1" in RUNNER.invoke(cut.app, ["list", "--most", "1"]).output


def test_a_warehouse_that_is_down_is_said_plainly(dsn: str, monkeypatch) -> None:
    monkeypatch.setenv("MILLRACE_WAREHOUSE_DSN", "postgresql://127.0.0.1:1/warehouse")
    shown = RUNNER.invoke(cut.app, ["show"])
    assert shown.exit_code == 1
    assert "millrace up" in shown.output


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([{"a": "1", "b": "2"}, {"a": "1"}], []),
        ([{"a": "1", "b": "2"}, {"b": "3"}], ["b"]),
        ([{"a": "1"}, None], ["row"]),
        ([None, None], []),
    ],
)
def test_stores_differ_where_both_say_something(found: list, wrong: list[str]) -> None:
    assert cut._differences([Answer("x", row) for row in found]) == wrong
