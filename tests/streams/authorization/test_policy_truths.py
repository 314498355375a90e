"""What holds for every request, whatever is known of its card."""

from dataclasses import replace
from datetime import date, timedelta
from random import Random
from time import process_time
from timeit import repeat

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import AuthorizationRequested
from schemas.features import DECISION_VERSIONS
from streams.authorization.history import Attempt, CardHistory
from streams.authorization.policy import (
    Account,
    Card,
    CardFacts,
    Customer,
    Health,
    decide,
    facts_document,
    facts_from_document,
)
from streams.authorization.rules import RuleSet
from tests.streams.authorization.usual import (
    FACTS,
    NOW,
    REQUEST,
    RULES,
    VERIFIED,
    after,
    asked,
    attempt,
    document,
)

LIVES = [
    [],
    [attempt(30)] * 120,
    [attempt(3600, country="JP"), attempt(60, amount_minor=100, channel="ECOMMERCE")],
    [attempt(600, decision="DECLINED", approved_amount_minor=0, country="DE")] * 30,
]
ANY_HEALTH = st.none() | st.builds(
    Health,
    st.decimals(0, 10**6, places=6),
    st.decimals(0, 10**6, places=6),
    st.sampled_from([NOW, NOW - timedelta(hours=1), None]),
)
ANY_FACTS = st.builds(
    CardFacts,
    st.none() | st.builds(
        Card, st.just("a-1"), st.sampled_from(["CLASSIC", "JUNIOR"]),
        st.sampled_from(["ACTIVE", "ACTIVE", "LOST", "STOLEN", "BLOCKED", "CLOSED"]),
        st.dates(date(2026, 11, 1), date(2027, 1, 1)),
    ),
    st.none() | st.builds(
        Account, st.just("u-1"), st.sampled_from(["CZK", "USD"]), st.integers(0, 10**6),
        st.integers(-(10**6), 10**6), st.integers(0, 10**6),
        st.sampled_from(["ACTIVE", "ACTIVE", "FROZEN", "CLOSED"]),
        st.sampled_from(["standard", "collateral"]),
    ),
    st.none() | st.builds(Customer, st.sampled_from(["ACTIVE", "SUSPENDED"]), st.just("CZ")),
    st.sampled_from([(), (VERIFIED,), (replace(VERIFIED, status="REJECTED"),)]),
    st.booleans(),
    ANY_HEALTH,
    st.sampled_from([CardHistory.of(len(life), life) for life in LIVES]),
    st.booleans(),
    st.sampled_from([None, "0/16B3748"]),
    st.sampled_from(["memory", "redis", "postgres"]),
)  # fmt: skip
ANY_REQUEST = st.builds(
    asked,
    amount_minor=st.sampled_from([-5, 0]) | st.integers(1, 2 * 10**6),
    currency=st.sampled_from(["CZK", "USD", "czk"]),
    mcc=st.sampled_from(["5411", "7995", "x"]),
    merchant_country=st.sampled_from(["CZ", "KP", "JP"]),
    channel=st.sampled_from(["CHIP", "ECOMMERCE"]),
    deadline_at=st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
    partial_allowed=st.booleans(),
    original_key=st.sampled_from([None, "T-0"]),
)


@given(ANY_REQUEST, ANY_FACTS)
@settings(deadline=None)
def test_no_approval_is_late_beyond_the_available_credit_or_for_an_unusable_card(
    request_: AuthorizationRequested, facts: CardFacts
) -> None:
    verdict = decide(request_, facts, RULES, NOW)
    assert verdict.approved == (not verdict.hits)
    if not verdict.approved:
        assert verdict.reason is verdict.hits[0].reason
        return
    assert request_.deadline_at >= NOW
    assert facts.card is not None
    assert facts.card.status == "ACTIVE"
    assert not facts.is_sanctioned
    assert facts.account is not None
    available = facts.account.available_minor
    if request_.partial_allowed and available > 0:
        return
    assert request_.amount_minor in (0, *range(available + 1))


@given(ANY_REQUEST, ANY_FACTS, st.integers(0, 999_999))
@settings(deadline=None)
def test_what_was_written_down_leads_to_the_same_verdict(
    request_: AuthorizationRequested, facts: CardFacts, micros: int
) -> None:
    verdict = decide(request_, facts, RULES, NOW + timedelta(microseconds=micros))
    if not verdict.is_storable:
        return
    stored = orjson.loads(orjson.dumps(facts_document(request_, facts, verdict.features)))
    assert set(stored["features"]) <= set(DECISION_VERSIONS) == set(stored["feature_versions"])
    again = decide(request_, facts_from_document(stored), RULES, verdict.moment)
    assert again == verdict


def test_facts_of_other_definitions_are_not_taken_for_ours() -> None:
    stored = facts_document(REQUEST, FACTS, {})
    stored["feature_versions"] = {**DECISION_VERSIONS, "card_travel_km": 99}
    with pytest.raises(ValueError, match="other definitions"):
        facts_from_document(stored)
    with pytest.raises(ValueError, match="no facts were logged"):
        facts_from_document({"available_minor": 5})


def later_by(facts: CardFacts, life: list[Attempt], by: timedelta) -> CardFacts:
    """The same facts at another time."""
    card, health = facts.card, facts.health
    by_ms = by // timedelta(milliseconds=1)
    moved = [replace(one, decided_at_ms=one.decided_at_ms + by_ms) for one in life]
    return replace(
        facts,
        card=card and replace(card, expires_on=card.expires_on + by),
        kyc=tuple(
            replace(one, updated_at=one.updated_at + by, expires_at=one.expires_at + by)
            for one in facts.kyc
        ),
        health=health and replace(health, priced_at=health.priced_at and health.priced_at + by),
        history=CardHistory.of(len(moved), moved),
    )


@given(ANY_REQUEST, ANY_FACTS, st.sampled_from(LIVES))
@settings(deadline=None)
def test_a_week_later_the_verdict_is_the_same(
    request_: AuthorizationRequested, facts: CardFacts, life: list[Attempt]
) -> None:
    week = timedelta(days=7)
    facts = replace(facts, history=CardHistory.of(len(life), life))
    asked_later = replace(
        request_, requested_at=NOW + week, deadline_at=request_.deadline_at + week
    )
    first = decide(request_, facts, RULES, NOW)
    later = decide(asked_later, later_by(facts, life, week), RULES, NOW + week)
    assert (later.reason, later.features, later.risk_score, later.signals) == (
        first.reason, first.features, first.risk_score, first.signals,
    )  # fmt: skip
    assert [hit.rule for hit in later.hits] == [hit.rule for hit in first.hits]


@given(st.randoms(use_true_random=False), ANY_REQUEST, ANY_FACTS)
@settings(deadline=None)
def test_the_order_of_rules_in_the_document_changes_nothing(
    chance: Random, request_: AuthorizationRequested, facts: CardFacts
) -> None:
    written = document()
    chance.shuffle(written["rules"])
    chance.shuffle(written["risk"]["points"])
    shuffled = decide(request_, facts, RuleSet.parse(written), NOW)
    assert shuffled == decide(request_, facts, RULES, NOW)


def test_a_decision_takes_little_time() -> None:
    """A loose bound for a busy machine; quiet, it is a fifth of it."""
    facts = after(*[attempt(3600 - i * 60, merchant_id=f"M-{i % 20}") for i in range(50)])

    def work() -> None:
        decide(REQUEST, facts, RULES, NOW)

    assert decide(REQUEST, facts, RULES, NOW).approved
    assert min(repeat(work, timer=process_time, number=1000, repeat=5)) / 1000 * 1e6 < 120
