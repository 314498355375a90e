"""The authorization rules: an example for each, and what must hold for every request."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import RESPONSE_CODE, Reason
from schemas.events import AuthorizationRequested
from streams.authorization import policy
from streams.authorization.policy import Account, Card, CardFacts, Customer, KycRecord, decide

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
REQUEST = AuthorizationRequested(
    request_id="r-1",
    idempotency_key="T-1",
    request_hash="a" * 64,
    card_id="0b6f2a4e-6f52-4d0e-9f8e-2f0b8f5f1a10",
    amount_minor=1000,
    currency="CZK",
    merchant_id="M-1",
    mcc="5411",
    merchant_country="CZ",
    channel="CHIP",
    requested_at=NOW,
    deadline_at=NOW + timedelta(milliseconds=500),
    correlation_id="c-1",
)
VERIFIED = KycRecord("IDENTITY", "VERIFIED", NOW - timedelta(days=9), NOW + timedelta(days=300))
OLDER = replace(VERIFIED, updated_at=NOW - timedelta(days=30))
FACTS = CardFacts(
    Card("a-1", "CLASSIC", "ACTIVE", date(2028, 1, 31)),
    Account("u-1", "CZK", 10_000, 2_000, 1_000, "ACTIVE"),
    Customer("ACTIVE", "CZ"),
    (VERIFIED,),
    (("card_attempts_1m", 0), ("card_attempts_1h", 0)),
)


def with_card(**changes: object) -> CardFacts:
    return replace(FACTS, card=replace(FACTS.card, **changes))


def with_account(**changes: object) -> CardFacts:
    return replace(FACTS, account=replace(FACTS.account, **changes))


def with_kyc(*records: KycRecord) -> CardFacts:
    return replace(FACTS, kyc=records)


DECLINES = [
    (replace(REQUEST, mcc="54"), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, currency="czk"), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, card_id="4111111111111111"), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, merchant_id="nul\0"), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, channel="CARRIER_PIGEON"), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, idempotency_key=""), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, requested_at=NOW + timedelta(hours=1)), FACTS, Reason.FORMAT_ERROR),
    (replace(REQUEST, amount_minor=-1), FACTS, Reason.INVALID_AMOUNT),
    (replace(REQUEST, amount_minor=2**63 - 1), FACTS, Reason.INVALID_AMOUNT),
    (replace(REQUEST, deadline_at=NOW - timedelta(0, 0, 1)), FACTS, Reason.DEADLINE_EXCEEDED),
    (REQUEST, CardFacts(), Reason.UNKNOWN_CARD),
    (REQUEST, with_card(status="LOST"), Reason.CARD_LOST),
    (REQUEST, with_card(status="STOLEN"), Reason.CARD_STOLEN),
    (REQUEST, with_card(status="BLOCKED"), Reason.CARD_NOT_ACTIVE),
    (REQUEST, with_card(status="CLOSED"), Reason.CARD_NOT_ACTIVE),
    (REQUEST, with_card(expires_on=date(2026, 11, 29)), Reason.CARD_EXPIRED),
    (REQUEST, with_account(status="FROZEN"), Reason.ACCOUNT_NOT_ACTIVE),
    (REQUEST, replace(FACTS, customer=Customer("SUSPENDED", "CZ")), Reason.CUSTOMER_NOT_ACTIVE),
    (REQUEST, with_kyc(), Reason.KYC_NOT_VALID),
    (REQUEST, with_kyc(replace(VERIFIED, status="PENDING")), Reason.KYC_NOT_VALID),
    (REQUEST, with_kyc(replace(VERIFIED, expires_at=NOW)), Reason.KYC_NOT_VALID),
    (REQUEST, with_kyc(VERIFIED, KycRecord("ENHANCED", "REJECTED", NOW)), Reason.KYC_NOT_VALID),
    (replace(REQUEST, currency="USD"), FACTS, Reason.CURRENCY_NOT_SUPPORTED),
    (replace(REQUEST, currency="XXX"), with_account(currency="XXX"), Reason.CURRENCY_NOT_SUPPORTED),
    (replace(REQUEST, merchant_country="KP"), FACTS, Reason.MERCHANT_NOT_ALLOWED),
    (replace(REQUEST, mcc="7995"), with_card(product="JUNIOR"), Reason.MERCHANT_NOT_ALLOWED),
    (REQUEST, replace(FACTS, attempts=(("card_attempts_1m", 120),)), Reason.VELOCITY_EXCEEDED),
    (replace(REQUEST, amount_minor=7_001), FACTS, Reason.INSUFFICIENT_CREDIT),
]
APPROVALS = [
    (REQUEST, FACTS),
    (replace(REQUEST, amount_minor=7_000), FACTS),
    (replace(REQUEST, amount_minor=0), with_account(posted_minor=50_000)),
    (REQUEST, with_card(expires_on=date(2026, 11, 30))),
    (REQUEST, with_kyc(replace(VERIFIED, expires_at=None))),
    (REQUEST, with_kyc(replace(OLDER, status="REJECTED"), VERIFIED)),
    (replace(REQUEST, deadline_at=NOW), FACTS),
    (replace(REQUEST, mcc="7995"), FACTS),
    (REQUEST, replace(FACTS, attempts=(("card_attempts_1m", 119),))),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "facts", "reason"), DECLINES)
def test_declines_with_the_reason_and_its_iso_8583_code(
    request_: AuthorizationRequested, facts: CardFacts, reason: Reason
) -> None:
    verdict = decide(request_, facts, NOW)
    assert (verdict.reason, verdict.decision) == (reason, "DECLINED")
    assert verdict.response_code == RESPONSE_CODE[reason] != "00"


@pytest.mark.parametrize(("request_", "facts"), APPROVALS)
def test_approves(request_: AuthorizationRequested, facts: CardFacts) -> None:
    verdict = decide(request_, facts, NOW)
    assert (verdict.reason, verdict.response_code, verdict.hits) == (Reason.APPROVED, "00", ())


def test_the_first_failing_rule_gives_the_reason_and_all_are_kept() -> None:
    facts = replace(with_card(status="STOLEN"), attempts=(("card_attempts_1h", 5000),))
    verdict = decide(replace(REQUEST, amount_minor=9_999, merchant_country="IR"), facts, NOW)
    assert verdict.reason is Reason.CARD_STOLEN
    assert verdict.hits == (
        Reason.CARD_STOLEN,
        Reason.MERCHANT_NOT_ALLOWED,
        Reason.VELOCITY_EXCEEDED,
        Reason.INSUFFICIENT_CREDIT,
    )


ANY_FACTS = st.builds(
    CardFacts,
    st.none() | st.builds(
        Card, st.just("a-1"), st.sampled_from(["CLASSIC", "JUNIOR"]),
        st.sampled_from(["ACTIVE", "LOST", "STOLEN", "BLOCKED", "CLOSED"]),
        st.dates(date(2026, 11, 1), date(2027, 1, 1)),
    ),
    st.none() | st.builds(
        Account, st.just("u-1"), st.sampled_from(["CZK", "USD"]), st.integers(0, 10**6),
        st.integers(-(10**6), 10**6), st.integers(0, 10**6),
        st.sampled_from(["ACTIVE", "FROZEN", "CLOSED"]),
    ),
    st.none() | st.builds(Customer, st.sampled_from(["ACTIVE", "SUSPENDED"]), st.just("CZ")),
    st.sampled_from([(), (VERIFIED,), (replace(VERIFIED, status="REJECTED"),)]),
    st.sampled_from([(), (("card_attempts_1m", 500),)]),
)  # fmt: skip
ANY_REQUEST = st.builds(
    replace,
    st.just(REQUEST),
    amount_minor=st.integers(-5, 2 * 10**6),
    currency=st.sampled_from(["CZK", "USD", "czk"]),
    mcc=st.sampled_from(["5411", "7995", "x"]),
    merchant_country=st.sampled_from(["CZ", "KP"]),
    deadline_at=st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
)


@given(ANY_REQUEST, ANY_FACTS)
def test_no_approval_is_late_beyond_the_available_credit_or_for_an_unusable_card(
    request_: AuthorizationRequested, facts: CardFacts
) -> None:
    verdict = decide(request_, facts, NOW)
    if verdict.approved:
        assert request_.deadline_at >= NOW
        assert facts.card is not None
        assert facts.card.status == "ACTIVE"
        assert facts.account is not None
        assert request_.amount_minor in (0, *range(facts.account.available_minor + 1))


@given(ANY_REQUEST, ANY_FACTS)
def test_the_reason_is_the_earliest_rule_that_fails_alone(
    request_: AuthorizationRequested, facts: CardFacts
) -> None:
    alone = [hit for rule in policy.RULES if (hit := rule(request_, facts, NOW))]
    verdict = decide(request_, facts, NOW)
    assert verdict.hits == tuple(alone)
    assert verdict.reason == (alone[0] if alone else Reason.APPROVED)


def test_ids_follow_from_the_key_and_differ_by_kind() -> None:
    kinds = ("authorization", "hold", "entry")
    first = [policy.derived_id(kind, "T-1") for kind in kinds]
    assert first == [policy.derived_id(kind, "T-1") for kind in kinds]
    assert len({*first, policy.derived_id("hold", "T-2")}) == 4
