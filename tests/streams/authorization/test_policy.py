"""Decisions: each reason by itself, their order, and what is told beside the verdict."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from schemas.codes import RESPONSE_CODE, Reason
from schemas.events import AuthorizationRequested
from streams.authorization import policy
from streams.authorization.history import CardHistory, milliseconds
from streams.authorization.policy import (
    Account,
    Card,
    CardFacts,
    Customer,
    Health,
    KycRecord,
    decide,
)
from tests.streams.authorization.usual import (
    FACTS,
    NOW,
    NOW_MS,
    OLDER,
    REQUEST,
    RULES,
    VERIFIED,
    after,
    asked,
    attempt,
    with_account,
    with_card,
    with_kyc,
)

RICH = Health(Decimal(1_000), Decimal(0), NOW)
COLLATERAL = replace(
    with_account(program_id="collateral", currency="USD", held_minor=0, posted_minor=0), health=RICH
)
DOLLARS = asked(currency="USD")
TOO_OFTEN = after(*[attempt(30, amount_minor=900_000)] * 120)
TOO_OFTEN_IN_AN_HOUR = after(*[attempt(1800)] * 1200)
SMALL = after(
    *[attempt(60, amount_minor=100, channel="ECOMMERCE")] * 5,
    facts=with_account(credit_limit_minor=10**7),
)
# Small ones, many declines, attempts, merchants and countries, and now a large one in a casino.
REFUSED = [
    attempt(
        250, decision="DECLINED", approved_amount_minor=0, merchant_id=f"M-{i}",
        channel="ECOMMERCE", country=f"A{'ABCDEFGHIJ'[i % 10]}", amount_minor=100,
    )
    for i in range(100)
]  # fmt: skip
SUSPICIOUS = after(*REFUSED, facts=with_account(credit_limit_minor=10**7))

DECLINES = [
    (asked(mcc="54"), FACTS, Reason.FORMAT_ERROR, "mcc"),
    (asked(mcc="541\u0661"), FACTS, Reason.FORMAT_ERROR, "mcc"),
    (asked(currency="czk"), FACTS, Reason.FORMAT_ERROR, "currency"),
    (asked(merchant_country="Cz"), FACTS, Reason.FORMAT_ERROR, "merchant_country"),
    (asked(card_id="4111111111111111"), FACTS, Reason.FORMAT_ERROR, "card_id"),
    (asked(merchant_id="nul\0"), FACTS, Reason.FORMAT_ERROR, "merchant_id"),
    (asked(merchant_id="\ud800"), FACTS, Reason.FORMAT_ERROR, "merchant_id"),
    (asked(merchant_id=""), FACTS, Reason.FORMAT_ERROR, "merchant_id"),
    (asked(merchant_id="M" * 65), FACTS, Reason.FORMAT_ERROR, "merchant_id"),
    (asked(channel="CARRIER_PIGEON"), FACTS, Reason.FORMAT_ERROR, "channel"),
    (asked(network="TELEX"), FACTS, Reason.FORMAT_ERROR, "network"),
    (asked(message_kind="WISH"), FACTS, Reason.FORMAT_ERROR, "message_kind"),
    (asked(message_kind="INCREMENT"), FACTS, Reason.FORMAT_ERROR, "original_key"),
    (asked(original_key="a b"), FACTS, Reason.FORMAT_ERROR, "original_key"),
    (asked(idempotency_key=""), FACTS, Reason.FORMAT_ERROR, "idempotency_key"),
    (asked(idempotency_key="k" * 161), FACTS, Reason.FORMAT_ERROR, "idempotency_key"),
    (asked(request_id="žluť"), FACTS, Reason.FORMAT_ERROR, "request_id"),
    (asked(request_hash="A" * 64), FACTS, Reason.FORMAT_ERROR, "request_hash"),
    (asked(terminal_latitude_e6=1), FACTS, Reason.FORMAT_ERROR, "longitude"),
    (asked(terminal_longitude_e6=1), FACTS, Reason.FORMAT_ERROR, "latitude"),
    (asked(terminal_latitude_e6=90_000_001, terminal_longitude_e6=0), FACTS,
     Reason.FORMAT_ERROR, "latitude"),
    (asked(requested_at=NOW + timedelta(hours=1)), FACTS, Reason.FORMAT_ERROR, "requested_at"),
    (asked(amount_minor=-1), FACTS, Reason.INVALID_AMOUNT, "-1"),
    (asked(amount_minor=2**63 - 1), FACTS, Reason.INVALID_AMOUNT, "9223372036854775807"),
    (asked(message_kind="VERIFICATION"), FACTS, Reason.INVALID_AMOUNT, "1000"),
    (asked(deadline_at=NOW - timedelta(milliseconds=7)), FACTS, Reason.DEADLINE_EXCEEDED, "7 ms"),
    (REQUEST, CardFacts(), Reason.UNKNOWN_CARD, REQUEST.card_id),
    (REQUEST, with_card(status="LOST"), Reason.CARD_LOST, "LOST"),
    (REQUEST, with_card(status="STOLEN"), Reason.CARD_STOLEN, "STOLEN"),
    (REQUEST, with_card(status="BLOCKED"), Reason.CARD_NOT_ACTIVE, "BLOCKED"),
    (REQUEST, with_card(status="CLOSED"), Reason.CARD_NOT_ACTIVE, "CLOSED"),
    (REQUEST, with_card(expires_on=date(2026, 11, 29)), Reason.CARD_EXPIRED, "2026-11-29"),
    (REQUEST, with_account(status="FROZEN"), Reason.ACCOUNT_NOT_ACTIVE, "FROZEN"),
    (REQUEST, replace(FACTS, account=None), Reason.ACCOUNT_NOT_ACTIVE, "no account"),
    (REQUEST, replace(FACTS, customer=Customer("SUSPENDED", "CZ")),
     Reason.CUSTOMER_NOT_ACTIVE, "SUSPENDED"),
    (REQUEST, replace(FACTS, customer=None), Reason.CUSTOMER_NOT_ACTIVE, "nobody"),
    (REQUEST, replace(FACTS, is_sanctioned=True), Reason.SANCTIONED, "sanctions list"),
    (REQUEST, with_kyc(), Reason.KYC_NOT_VALID, "0 kinds"),
    (REQUEST, with_kyc(replace(VERIFIED, status="PENDING")), Reason.KYC_NOT_VALID, "1 kinds"),
    (REQUEST, with_kyc(replace(VERIFIED, expires_at=NOW)), Reason.KYC_NOT_VALID, "1 kinds"),
    (REQUEST, with_kyc(VERIFIED, KycRecord("ENHANCED", "REJECTED", NOW)),
     Reason.KYC_NOT_VALID, "ENHANCED"),
    (DOLLARS, FACTS, Reason.CURRENCY_NOT_SUPPORTED, "USD"),
    (asked(currency="XXX"), with_account(currency="XXX"), Reason.CURRENCY_NOT_SUPPORTED, "XXX"),
    (asked(merchant_country="KP"), FACTS, Reason.MERCHANT_NOT_ALLOWED, "KP"),
    (asked(mcc="7995"), with_card(product="JUNIOR"), Reason.MERCHANT_NOT_ALLOWED, "7995"),
    (replace(DOLLARS, mcc="6011"), COLLATERAL, Reason.MCC_NOT_ALLOWED, "6011"),
    (replace(DOLLARS, merchant_country="MM"), COLLATERAL, Reason.COUNTRY_NOT_ALLOWED, "MM"),
    (REQUEST, TOO_OFTEN, Reason.VELOCITY_EXCEEDED, "120 attempts within a minute; 120"),
    (REQUEST, TOO_OFTEN_IN_AN_HOUR, Reason.VELOCITY_EXCEEDED, "1200 attempts within an hour"),
    (asked(merchant_country="JP"), after(attempt(3600)), Reason.IMPOSSIBLE_TRAVEL, "6997 km"),
    (asked(amount_minor=500_000), SMALL, Reason.RISK_TOO_HIGH, "500000 after 5 small"),
    (asked(amount_minor=400_000, mcc="7995", merchant_country="AA"), SUSPICIOUS,
     Reason.RISK_TOO_HIGH, "risk 110, refused from 100: 5 for abroad"),
    (asked(amount_minor=7_001), FACTS, Reason.INSUFFICIENT_CREDIT, "7001 was asked for, 7000 is"),
    (asked(partial_allowed=True), with_account(posted_minor=9_000), Reason.INSUFFICIENT_CREDIT,
     "0 is available"),
    (replace(DOLLARS, amount_minor=10_000), replace(COLLATERAL, health=replace(RICH,
     numerator=Decimal("109.99"))), Reason.HEALTH_TOO_LOW, "1.099900 with 100.00 owed; 1.10"),
    (DOLLARS, replace(COLLATERAL, health=None), Reason.HEALTH_TOO_LOW, "0.000000 with 10.00"),
    (DOLLARS, replace(COLLATERAL, health=replace(RICH, priced_at=NOW - timedelta(seconds=901))),
     Reason.PRICE_STALE, "901 s old; 900 s"),
    (DOLLARS, replace(COLLATERAL, health=replace(RICH, priced_at=None)), Reason.PRICE_STALE, "no"),
    (DOLLARS, replace(COLLATERAL, health=replace(RICH, priced_at=NOW + timedelta(minutes=6))),
     Reason.PRICE_STALE, "360 s from the future"),
    (REQUEST, replace(COLLATERAL, account=replace(COLLATERAL.account, currency="CZK")),
     Reason.PRICE_STALE, "priced in USD, the account is in CZK"),
]  # fmt: skip

APPROVALS = [
    (REQUEST, FACTS),
    (asked(amount_minor=7_000), FACTS),
    (asked(amount_minor=0), with_account(posted_minor=50_000)),
    (asked(amount_minor=0, message_kind="VERIFICATION"), FACTS),
    (asked(amount_minor=7_001, partial_allowed=True), FACTS),
    # Only the database knows what a new total adds.
    (asked(amount_minor=9_000, message_kind="INCREMENT", original_key="T-0", amount_is_total=True),
     FACTS),
    (asked(idempotency_key="advice:" + "k" * 128), FACTS),
    (asked(merchant_id="\u00a0Š" * 32), FACTS),
    (REQUEST, with_card(expires_on=date(2026, 11, 30))),
    (REQUEST, with_kyc(replace(VERIFIED, expires_at=None))),
    (REQUEST, with_kyc(replace(OLDER, status="REJECTED"), VERIFIED)),
    (REQUEST, with_kyc(VERIFIED, replace(OLDER, status="REJECTED"))),
    (asked(deadline_at=NOW), FACTS),
    (asked(mcc="7995"), FACTS),
    (REQUEST, after(*[attempt(30, amount_minor=900_000)] * 119)),
    # At the very edge the 120th has left the window.
    (REQUEST, after(attempt(60), *[attempt(30)] * 119)),
    (asked(amount_minor=499_999), SMALL),
    (asked(merchant_country="JP"), after(attempt(8 * 3600))),
    (asked(merchant_country="JP", channel="ECOMMERCE"), after(attempt(1))),
    (replace(DOLLARS, amount_minor=10_000),
     replace(COLLATERAL, health=replace(RICH, numerator=Decimal("110.00")))),
    (DOLLARS, replace(COLLATERAL, health=replace(RICH, priced_at=NOW - timedelta(seconds=900)))),
    (replace(DOLLARS, amount_minor=0), replace(COLLATERAL, health=None)),
    # Collateral is not judged where there is none.
    (REQUEST, replace(FACTS, health=Health(Decimal(0), Decimal(10**9), None))),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "facts", "reason", "said"), DECLINES)
def test_declines_with_the_reason_its_iso_8583_code_and_an_explanation(
    request_: AuthorizationRequested, facts: CardFacts, reason: Reason, said: str
) -> None:
    verdict = decide(request_, facts, RULES, NOW)
    assert (verdict.reason, verdict.decision) == (reason, "DECLINED")
    assert verdict.response_code == RESPONSE_CODE[reason] != "00"
    assert said in verdict.hits[0].explanation


@pytest.mark.parametrize(("request_", "facts"), APPROVALS)
def test_approves(request_: AuthorizationRequested, facts: CardFacts) -> None:
    verdict = decide(request_, facts, RULES, NOW)
    assert (verdict.reason, verdict.response_code, verdict.hits) == (Reason.APPROVED, "00", ())


def test_every_reason_of_the_policy_is_reached_here() -> None:
    others = {  # given by the gateway or under the database's lock
        Reason.APPROVED, Reason.PARTIALLY_APPROVED, Reason.AMOUNT_LIMIT_EXCEEDED,
        Reason.COUNT_LIMIT_EXCEEDED, Reason.DECIDER_UNAVAILABLE, Reason.ORIGINAL_NOT_FOUND,
        Reason.ORIGINAL_ENDED, Reason.STAND_IN_APPROVED, Reason.STAND_IN_DECLINED,
    }  # fmt: skip
    assert {reason for _, _, reason, _ in DECLINES} == set(Reason) - others


# All of it wrong at once, and each time the first of what is wrong is put right.
WRONG_REQUEST = asked(
    deadline_at=NOW - timedelta(seconds=1), currency="USD", merchant_country="KP",
    amount_minor=9_000_000,
)  # fmt: skip
WRONG = after(
    *REFUSED,
    *[attempt(30, country="JP", amount_minor=1)] * 120,
    facts=CardFacts(
        Card("a-1", "CLASSIC", "LOST", date(2026, 1, 1)),
        Account("u-1", "EUR", 10_000, 9_000, 9_000, "FROZEN", "collateral"),
        Customer("CLOSED", "CZ"),
        (),
        is_sanctioned=True,
    ),
)
ORDER = [
    (Reason.DEADLINE_EXCEEDED, lambda r, f: (replace(r, deadline_at=NOW), f)),
    (Reason.CARD_LOST, lambda r, f: (r, replace(f, card=replace(f.card, status="ACTIVE")))),
    (Reason.ACCOUNT_NOT_ACTIVE,
     lambda r, f: (r, replace(f, account=replace(f.account, status="ACTIVE")))),
    (Reason.CUSTOMER_NOT_ACTIVE, lambda r, f: (r, replace(f, customer=Customer("ACTIVE", "CZ")))),
    (Reason.CARD_EXPIRED,
     lambda r, f: (r, replace(f, card=replace(f.card, expires_on=date(2030, 1, 1))))),
    (Reason.SANCTIONED, lambda r, f: (r, replace(f, is_sanctioned=False))),
    (Reason.KYC_NOT_VALID, lambda r, f: (r, replace(f, kyc=(VERIFIED,)))),
    (Reason.CURRENCY_NOT_SUPPORTED,
     lambda r, f: (r, replace(f, account=replace(f.account, currency="USD")))),
    (Reason.MERCHANT_NOT_ALLOWED, lambda r, f: (replace(r, merchant_country="US"), f)),
    # Velocity, travel and risk are the card's past.
    (Reason.VELOCITY_EXCEEDED, lambda r, f: (r, replace(f, history=CardHistory.of(1, [
        attempt(30, country="JP")])))),
    (Reason.IMPOSSIBLE_TRAVEL, lambda r, f: (r, replace(f, history=CardHistory.of(5, [
        attempt(30, amount_minor=1, channel="ECOMMERCE", currency="USD")] * 5)))),
    (Reason.RISK_TOO_HIGH, lambda r, f: (r, replace(f, history=CardHistory.empty()))),
    (Reason.INSUFFICIENT_CREDIT,
     lambda r, f: (r, replace(f, account=replace(f.account, credit_limit_minor=10**9)))),
    (Reason.HEALTH_TOO_LOW,
     lambda r, f: (r, replace(f, health=Health(Decimal(10**9), Decimal(0), NOW)))),
]  # fmt: skip


def test_the_first_refusal_in_order_gives_the_reason() -> None:
    request_, facts = WRONG_REQUEST, WRONG
    for reason, put_right in ORDER:
        verdict = decide(request_, facts, RULES, NOW)
        assert verdict.reason is reason, verdict.hits
        request_, facts = put_right(request_, facts)
    assert decide(request_, facts, RULES, NOW).approved


def test_all_refusals_are_kept() -> None:
    facts = replace(with_card(status="STOLEN"), history=TOO_OFTEN_IN_AN_HOUR.history)
    verdict = decide(asked(amount_minor=9_999, merchant_country="IR"), facts, RULES, NOW)
    assert verdict.reason is Reason.CARD_STOLEN
    assert [hit.rule for hit in verdict.hits] == [
        "card_status", "embargoed_country", "attempts_in_an_hour", "impossible_travel",
        "available_credit",
    ]  # fmt: skip


def test_the_score_is_told_with_its_reasons_even_when_it_does_not_refuse() -> None:
    verdict = decide(asked(mcc="7995", merchant_country="DE"), FACTS, RULES, NOW)
    assert verdict.approved
    assert (verdict.risk_score, [one.rule for one in verdict.signals]) == (
        20, ["abroad", "risky_merchant"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "unstored",
    [asked(mcc="x"), asked(amount_minor=-1), asked(deadline_at=NOW - timedelta(1))],
)
def test_what_is_malformed_or_late_is_not_stored(unstored: AuthorizationRequested) -> None:
    assert not decide(unstored, FACTS, RULES, NOW).is_storable
    assert decide(REQUEST, CardFacts(), RULES, NOW).is_storable


@pytest.mark.parametrize("micros", [0, 1, 999, 1000, 70_000])
def test_the_moment_is_never_before_the_cards_last_decision(micros: int) -> None:
    last = NOW + timedelta(microseconds=micros)
    facts = after(replace(attempt(), decided_at_ms=milliseconds(last)))
    verdict = decide(asked(deadline_at=NOW + timedelta(hours=1)), facts, RULES, NOW)
    assert verdict.moment >= last
    assert milliseconds(verdict.moment) == max(NOW_MS, milliseconds(last))
    assert verdict.features["card_seconds_since_last"] == 0
    later = NOW + timedelta(days=3)
    assert decide(asked(requested_at=later), facts, RULES, later).moment == later


def test_ids_follow_from_the_key_and_differ_by_kind() -> None:
    kinds = ("authorization", "hold", "entry")
    first = [policy.derived_id(kind, "T-1") for kind in kinds]
    assert first == [policy.derived_id(kind, "T-1") for kind in kinds]
    assert len({*first, policy.derived_id("hold", "T-2")}) == 4
