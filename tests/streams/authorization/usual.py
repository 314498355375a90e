"""The usual request for the usual card, which the default rules approve, and variations of both."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from schemas.events import AuthorizationRequested
from streams.authorization.history import Attempt, CardHistory, milliseconds
from streams.authorization.policy import Account, Card, CardFacts, Customer, KycRecord
from streams.authorization.rules import RuleSet

FILE = Path(__file__).parents[3] / "schemas" / "rules" / "default.yaml"
DOCUMENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
NOW_MS = milliseconds(NOW)
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
)


def document() -> dict[str, Any]:
    """The default rules, to be changed."""
    return deepcopy(DOCUMENT)


RULES = RuleSet.parse(document())


def asked(**changes: Any) -> AuthorizationRequested:
    """The request, changed."""
    return replace(REQUEST, **changes)


def attempt(ago_s: float = 60, **changes: Any) -> Attempt:
    """A purchase in Prague so long ago, approved."""
    made = Attempt(
        NOW_MS - round(ago_s * 1000), "APPROVED", 90_000, 90_000, "M-1", "5411", "CZ", "CHIP",
        None, None, "CZK",
    )  # fmt: skip
    return replace(made, **changes)


def with_card(**changes: Any) -> CardFacts:
    """The facts with another card."""
    return replace(FACTS, card=replace(FACTS.card, **changes))


def with_account(**changes: Any) -> CardFacts:
    """The facts with another account."""
    return replace(FACTS, account=replace(FACTS.account, **changes))


def with_kyc(*records: KycRecord) -> CardFacts:
    """The facts with these checks."""
    return replace(FACTS, kyc=records)


def after(*attempts: Attempt, facts: CardFacts = FACTS) -> CardFacts:
    """The facts of a card that did this before."""
    return replace(facts, history=CardHistory.of(len(attempts), attempts))
