"""Backtests: the same as the shadow run of the span, and as an oracle that counts row by row."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from oltp import rules as stored
from streams.authorization import shadowing
from streams.authorization.backtesting import backtest, counted, judged
from streams.authorization.comparing import Compared
from streams.authorization.rules import RuleSet
from streams.authorization.ruleset_source import from_file
from tests.oltp.conftest import Database
from tests.streams.authorization import oracle
from tests.streams.authorization.desk import Desk, new_card, random_swipe

BEGIN = datetime(2026, 11, 20, 3, tzinfo=UTC)
END = BEGIN + timedelta(days=9)
STANDING = {
    "card", "card_status", "account_status", "customer_status", "expiry", "sanctions", "kyc",
    "currency",
}  # fmt: skip


def rule(name: str, when: Mapping[str, Any], reason: str = "VELOCITY_EXCEEDED") -> dict[str, Any]:
    return {
        "id": name, "stage": "velocity", "reason": reason, "when": when, "explanation": name,
    }  # fmt: skip


# Drafts of one stateful rule each, and what an oracle that only counts says of them.
DRAFTS: dict[str, tuple[Mapping[str, Any], Callable[[Mapping[str, Any], dict], bool]]] = {
    "attempts": (
        {"feature": "card_attempts_1h", ">=": 3},
        lambda found, row: found["card_attempts_1h"] >= 3,
    ),
    "spend-online": (
        {"all": [{"feature": "card_spend_24h", ">": 50_000},
                 {"field": "channel", "in": ["ECOMMERCE"]}]},
        lambda found, row: found["card_spend_24h"] > 50_000 and row["channel"] == "ECOMMERCE",
    ),
    "merchants": (
        {"any": [{"feature": "card_merchants_24h", ">=": 6},
                 {"feature": "card_countries_24h", ">=": 3}]},
        lambda found, row: found["card_merchants_24h"] >= 6 or found["card_countries_24h"] >= 3,
    ),
    "declines-then-new": (
        {"all": [{"feature": "card_declines_1h", ">=": 1},
                 {"feature": "card_is_new_merchant", "==": 1}]},
        lambda found, row: found["card_declines_1h"] >= 1 and found["card_is_new_merchant"] == 1,
    ),
    "small-then-large": (
        {"all": [{"feature": "card_small_amounts_10m", ">=": 1},
                 {"field": "amount_minor", ">=": {"USD": 1_000}}]},
        lambda found, row: found["card_small_amounts_10m"] >= 1
        and row["facts"]["request"].get("amount_minor", row["amount_minor"]) >= 1_000,
    ),
    "in-a-hurry": (
        {"feature": "card_seconds_since_last", "<": 60},
        lambda found, row: (found["card_seconds_since_last"] or 0) < 60
        and found["card_seconds_since_last"] is not None,
    ),
}  # fmt: skip


def drafts() -> list[RuleSet]:
    return [
        RuleSet.parse({"version": f"draft-{name}", "rules": [rule("tried", when)]})
        for name, (when, _) in DRAFTS.items()
    ]


@pytest.fixture(scope="module")
def decided(database) -> Database:
    """A day decided by the default rules with every draft in shadow, and what came before it."""
    rng = random.Random(11)
    shadows = drafts()
    with psycopg.connect(database.app, autocommit=True) as connection:
        for draft in shadows:
            stored.draft(connection, draft.version, draft.document, "ada", "to try")
            stored.shadow(connection, draft.version, "ada", "to watch")
    desks = [Desk(database.app, from_file(), shadows) for _ in range(2)]
    app = desks[0].connection
    cards = [new_card(app, limit_minor=10**9 if n else 200_000) for n in range(6)]
    approved: dict[str, list[str]] = defaultdict(list)
    at = BEGIN
    for _ in range(110):
        at += timedelta(seconds=rng.choice([0, 0.003, 5, 60, 900, 1500]))
        batch = [random_swipe(rng, cards, at, approved) for _ in range(rng.randint(1, 6))]
        answers = rng.choice(desks).decide(batch, at)
        for one in batch:
            if answers[one.idempotency_key]["approved_amount_minor"]:
                approved[one.card_id].append(one.idempotency_key)
    return database


def run(
    database: Database, rules: RuleSet, since: datetime = BEGIN, until: datetime = END
) -> dict[str, Any]:
    """What the rules say of each decision of the span, by its id."""
    with psycopg.connect(database.app) as connection:
        rows = counted(connection, since, until)
        return {one.row["authorization_id"]: one for one in judged(rows, rules, since) if one}


def expected_reason(row: dict, hit: bool) -> str:
    """The order of checks: standing, then the one rule, then credit. Not what rules decided."""
    refusals = [one["rule"] for one in row["rule_hits"]]
    for one in row["rule_hits"]:
        if one["rule"] in STANDING:
            return one["reason"]
    if hit:
        return "VELOCITY_EXCEEDED"
    return "INSUFFICIENT_CREDIT" if "available_credit" in refusals else "APPROVED"


@pytest.mark.parametrize("name", DRAFTS)
def test_a_stateful_draft_changes_exactly_the_decisions_that_an_oracle_says(decided, name):
    says = DRAFTS[name][1]
    rows = oracle.rows_of(decided.app)
    expected = {
        row["id"]: expected_reason(row, says(oracle.features(rows, row), row)) for row in rows
    }
    (draft,) = [one for one in drafts() if one.version == f"draft-{name}"]
    found = {decision: str(one.reason) for decision, one in run(decided, draft).items()}
    assert found == expected
    assert 0 < list(found.values()).count("VELOCITY_EXCEEDED") < len(found)


@pytest.mark.parametrize("name", DRAFTS)
def test_the_shadow_run_and_the_later_backtest_agree_one_by_one(decided, name):
    (draft,) = [one for one in drafts() if one.version == f"draft-{name}"]
    with psycopg.connect(decided.app, row_factory=dict_row) as connection:
        shadow = {
            row["id"]: (row["reason_code"], [hit["rule"] for hit in row["rule_hits"]])
            for row in connection.execute(
                "select authorization_id::text as id, * from card.shadow_verdicts"
                " where version = %s", (draft.version,)
            )
        }  # fmt: skip
    later = {
        decision: (str(one.reason), [hit.rule for hit in one.hits])
        for decision, one in run(decided, draft).items()
    }
    assert len(later) > 300
    assert later == shadow


def test_report_of_the_shadow_and_summary_of_the_backtest_are_the_same(decided):
    with psycopg.connect(decided.app, autocommit=True) as connection:
        for draft in drafts():
            watched = shadowing.report(connection, draft.version)
            tested = backtest(connection, draft, BEGIN, END)
            for one in (watched, tested):
                one.examples.sort(key=lambda example: example.authorization_id)
            assert watched.changed.count > 0
            assert (watched.same, watched.changed, watched.by_reason, watched.days) == (
                tested.same, tested.changed, tested.by_reason, tested.days,
            )  # fmt: skip


def test_the_rules_that_decided_change_nothing(decided):
    with psycopg.connect(decided.app, autocommit=True) as connection:
        found = backtest(connection, from_file(), BEGIN, END)
    assert found.changed.count == 0
    assert found.same.count == found.judged > 300


def test_a_span_sees_the_day_before_it(decided):
    """The state at its first moment is that of the whole past, not of an empty one."""
    middle = BEGIN + timedelta(hours=6)
    for draft in drafts():
        whole = run(decided, draft)
        part = run(decided, draft, since=middle)
        assert part.keys() < whole.keys()
        assert {k: v.reason for k, v in part.items()} == {k: whole[k].reason for k in part}
        assert min(one.row["decided_at"] for one in part.values()) >= middle


def test_progress_ends_at_what_there_was(decided):
    told: list[tuple[int, int]] = []
    with psycopg.connect(decided.app, autocommit=True) as connection:
        backtest(connection, from_file(), BEGIN, END, progress=lambda *now: told.append(now))
    assert told
    assert told[-1][0] == told[-1][1] > 300


INSERT = """
insert into card.authorizations (
    authorization_id, idempotency_key, request_hash, card_id, amount_minor, currency, merchant_id,
    mcc, merchant_country, channel, decision, response_code, reason_code, rule_hits, facts,
    rule_version, requested_at, decided_at, is_stand_in, message_kind)
select gen_random_uuid(), gen_random_uuid()::text, repeat('a', 64), %(card)s, 500, 'CZK', 'M-1',
    '5411', 'CZ', 'CHIP', %(decision)s, %(code)s, %(reason)s, '[]', %(facts)s, 'import', t, t,
    %(stood_in)s, %(kind)s
from generate_series(0, %(count)s - 1) n,
    lateral (select %(first)s::timestamptz + n * interval '1 minute' as t) at
"""


def imported(database: Database, first: datetime, count: int, **changes: Any) -> None:
    given = {
        "card": "0b5c1b62-0000-4000-8000-00000000000a", "decision": "APPROVED", "code": "00",
        "reason": "APPROVED", "facts": Jsonb({}), "stood_in": False, "kind": "PURCHASE", **changes,
    }  # fmt: skip
    with psycopg.connect(database.app) as connection:
        connection.execute(INSERT, {**given, "first": first, "count": count})


def test_history_without_facts_is_judged_by_what_its_columns_tell_and_counted(decided):
    first = datetime(2025, 3, 1, tzinfo=UTC)
    imported(decided, first, 20)
    imported(decided, first + timedelta(hours=5), 3, decision="DECLINED", code="51",
             reason="INSUFFICIENT_CREDIT")  # fmt: skip
    imported(decided, first + timedelta(hours=6), 2, stood_in=True, reason="STAND_IN_APPROVED",
             kind="ADVICE")  # fmt: skip
    draft = RuleSet.parse(
        {"version": "later", "rules": [rule("tried", {"feature": "card_attempts_1h", ">=": 15})]}
    )
    with psycopg.connect(decided.app, autocommit=True) as connection:
        found = backtest(connection, draft, first, first + timedelta(days=1))
    assert (found.judged, found.without_facts, found.changed.count) == (23, 23, 5)
    assert dict(found.by_reason).keys() == {("APPROVED", "VELOCITY_EXCEEDED")}
    assert found.newly_declined.minor == Counter({"CZK": 2_500})
    assert list(found.passed_over.values()) == [2]
    assert {one.has_facts for one in found.examples} == {False}


def test_memory_does_not_grow_with_the_span(decided):
    first = datetime(2024, 1, 1, tzinfo=UTC)
    for day in range(4):
        imported(decided, first + timedelta(days=10 * day), 2_500,
                 card=f"0b5c1b62-0000-4000-8000-0000000000b{day}")  # fmt: skip

    def peak(days: int) -> int:
        with psycopg.connect(decided.app, autocommit=True) as connection:
            tracemalloc.start()
            found = backtest(connection, from_file(), first, first + timedelta(days=days))
            assert found.judged > 100 * days
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    peak(1)
    assert peak(40) < 1.5 * peak(10)


def test_a_comparison_adds_no_currency_to_another():
    one = Compared("a", "k", BEGIN, 5, "USD", "APPROVED", "VELOCITY_EXCEEDED")
    comparison = shadowing.Comparison("v").add_all(
        [one, Compared("b", "l", BEGIN, 7, "JPY", "APPROVED", "VELOCITY_EXCEEDED")]
    )
    assert comparison.changed.minor == {"USD": 5, "JPY": 7}
