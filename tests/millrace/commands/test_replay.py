"""`millrace replay`: a decision laid beside itself; what differs is shown and exits with 1."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.millrace.commands.conftest import BEGIN


@pytest.fixture(scope="module")
def keys(office) -> list[str]:
    return office.decide()


def tamper(office, key: str) -> None:
    with psycopg.connect(office.database.admin) as connection:
        connection.execute(
            "update card.authorizations"
            " set facts = jsonb_set(facts, '{features,card_attempts_1m}', '99')"
            " where idempotency_key = %s",
            (key,),
        )


def test_a_decision_is_laid_beside_itself(office, keys):
    shown = office.run("replay", keys[3])
    assert shown.exit_code == 0, shown.stderr
    for said in ("card_attempts_1m", "available", "APPROVED", "the same decision again"):
        assert said in shown.stdout
    document = json.loads(office.run("replay", keys[3], "--json").stdout)
    assert document["is_equal"]
    by_name = {check["name"]: check for check in document["checks"]}
    assert by_name["card_attempts_1m"]["stored"] == by_name["card_attempts_1m"]["rebuilt"] == 3


def test_a_span_is_replayed_whole_and_what_differs_exits_with_one(office, keys):
    span = ("--from", BEGIN.isoformat(), "--to", "2026-11-21")
    whole = office.run("replay", *span)
    assert whole.exit_code == 0
    assert "6 decisions taken again: 6 equal, 0 differ" in whole.stdout
    tamper(office, keys[4])
    one = office.run("replay", keys[4])
    assert one.exit_code == 1
    assert "differs" in one.stdout
    again = office.run("replay", *span)
    assert again.exit_code == 1
    assert "feature: card_attempts_1m" in again.stdout
    told = json.loads(office.run("replay", *span, "--json").stdout)
    assert (told["replayed"], len(told["differing"])) == (6, 1)


def test_what_cannot_be_replayed_is_said(office):
    nobody = office.run("replay", "nobody")
    assert nobody.exit_code == 1
    assert "no decision has the id or idempotency key 'nobody'" in nobody.stderr
    assert office.run("replay").exit_code == 2
    assert "write 2026-11-30" in office.run("replay", "--from", "yesterday").stderr
