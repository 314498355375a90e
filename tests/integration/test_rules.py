"""A change of the rules on real services: watched, decides, is taken back; all of it replays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import psycopg
import pytest

from millrace.stack import Stack
from oltp import rules
from streams.authorization import shadowing
from streams.authorization.backtesting import backtest
from streams.authorization.replaying import Replayer
from streams.authorization.rules import RuleSet
from streams.authorization.ruleset_source import from_file
from tests.cards import UsableCard, eventually, new_card

pytestmark = pytest.mark.stack
# Nobody else shops here.
REFUSED_MERCHANT = "M-refused"


@pytest.fixture
def connection(stack: Stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stack.env["MILLRACE_OLTP_DSN"], autocommit=True) as opened:
        before = rules.active(opened).version
        yield opened
        if rules.active(opened).version != before:
            rules.roll_back(opened, "tests", "as it was", before)


@pytest.fixture
def swipe(stack: Stack):
    with httpx.Client(base_url=stack.env["MILLRACE_GATEWAY"], timeout=30) as gateway:

        def ask(card: UsableCard, merchant_id: str) -> str:
            body = card.body(merchant_id=merchant_id)
            answer = gateway.post("/v1/authorizations", json=body)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["reason_code"])

        yield ask


def stricter() -> RuleSet:
    document = dict(from_file().document)
    rule = {
        "id": "refused_merchant", "stage": "lists", "reason": "MERCHANT_NOT_ALLOWED",
        "when": {"all": [{"field": "merchant_id", "in": [REFUSED_MERCHANT]},
                         {"feature": "card_attempts_24h", ">=": 2}]},
        "explanation": "not after {card_attempts_24h} attempts",
    }  # fmt: skip
    version = f"stricter-{uuid4().hex[:8]}"
    return RuleSet.parse({**document, "version": version, "rules": [*document["rules"], rule]})


def test_a_change_is_watched_decides_and_is_taken_back_while_the_worker_runs(
    stack: Stack, connection: psycopg.Connection, swipe
) -> None:
    began = datetime.now(UTC)
    draft = stricter()
    version = draft.version
    rules.draft(connection, version, draft.document, "tests", "to try")
    rules.shadow(connection, version, "tests", "to watch")

    def is_watched() -> bool:
        swipe(new_card(stack.env["MILLRACE_OLTP_DSN"]), "M-1")
        return shadowing.report(connection, version).judged > 0

    eventually(is_watched)
    card = new_card(stack.env["MILLRACE_OLTP_DSN"])
    reasons = [swipe(card, REFUSED_MERCHANT) for _ in range(4)]
    assert reasons == ["APPROVED"] * 4
    watched = shadowing.report(connection, version)
    assert (watched.changed.count, set(watched.by_reason)) == (
        2, {("APPROVED", "MERCHANT_NOT_ALLOWED")},
    )  # fmt: skip
    first = min(watched.days)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    tested = backtest(connection, draft, max(began, since), datetime.now(UTC))
    assert tested.by_reason == watched.by_reason

    rules.promote(connection, version, "tests", "as shown")
    eventually(lambda: swipe(card, REFUSED_MERCHANT) == "MERCHANT_NOT_ALLOWED", within_s=20)
    rules.roll_back(connection, "tests", "too strict")
    eventually(lambda: swipe(card, REFUSED_MERCHANT) == "APPROVED", within_s=20)

    replayed = list(Replayer(connection).replay_span(began, began + timedelta(hours=1)))
    assert len(replayed) >= 7
    assert {one.rule_version for one in replayed} >= {version}
    assert not [one.differences for one in replayed if not one.is_equal]
