"""The authorization rules: a table in order, the first failing one gives the reason. Pure.

Amounts are minor units of the request's currency. What must hold exactly under concurrency
(available credit, daily limits) is judged again by the database; nothing approved here is final.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from schemas.codes import (
    EXPONENT,
    RESPONSE_CODE,
    AccountStatus,
    CardProduct,
    CardStatus,
    Channel,
    CustomerStatus,
    Decision,
    KycStatus,
    Reason,
)
from schemas.events import AuthorizationRequested
from schemas.features import FEATURES

RULE_VERSION = "2026-11-1"
HOLD_DAYS = 7
# Ids follow from the key, so a request that is decided again names the same rows.
NAMESPACE = uuid.UUID("6b1f7f0e-6e0b-5c39-9a53-1f6f2d8f4a10")

LARGEST_AMOUNT_MINOR = 10**15
CLOCK_SKEW = timedelta(minutes=5)
EMBARGOED_COUNTRIES = frozenset({"CU", "IR", "KP", "SY"})
# Gambling, bars, tobacco and cash are not for juniors.
JUNIOR_REFUSED_MCCS = frozenset({"7995", "5813", "5993", "6011"})
# Attempts a card may make in a window; the request itself comes on top.
VELOCITY_LIMITS = {"card_attempts_1m": 120, "card_attempts_1h": 1200}
WINDOWS_S = {f.name: f.window_s for f in FEATURES if f.name in VELOCITY_LIMITS}

PATTERNS = {
    "request_id": re.compile(r"[!-~]{1,128}"),
    "idempotency_key": re.compile(r"[!-~]{1,128}"),
    "request_hash": re.compile(r"[0-9a-f]{64}"),
    "card_id": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "currency": re.compile(r"[A-Z]{3}"),
    "merchant_id": re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,64}"),
    "mcc": re.compile(r"[0-9]{4}"),
    "merchant_country": re.compile(r"[A-Z]{2}"),
    "channel": re.compile("|".join(Channel)),
}


@dataclass(frozen=True)
class Card:
    """The card asked for."""

    account_id: str
    product: str
    status: str
    expires_on: date


@dataclass(frozen=True)
class Account:
    """The account it draws on."""

    customer_id: str
    currency: str
    credit_limit_minor: int
    posted_minor: int
    held_minor: int
    status: str

    @property
    def available_minor(self) -> int:
        """What may still be approved."""
        return self.credit_limit_minor - self.posted_minor - self.held_minor


@dataclass(frozen=True)
class Customer:
    """Who owns the account."""

    status: str
    country: str


@dataclass(frozen=True)
class KycRecord:
    """One check of the customer."""

    verification_type: str
    status: str
    updated_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True)
class CardFacts:
    """What is known of a card at the moment of the decision. No card: unknown to us."""

    card: Card | None = None
    account: Account | None = None
    customer: Customer | None = None
    kyc: tuple[KycRecord, ...] = ()
    attempts: tuple[tuple[str, int], ...] = ()
    # True when read from Redis: good enough to approve on, not to refuse on.
    is_copy: bool = False


@dataclass(frozen=True)
class Verdict:
    """The policy's answer: the first failing rule's reason, and every rule that failed."""

    reason: Reason
    hits: tuple[Reason, ...]
    rule_version: str = RULE_VERSION

    @property
    def approved(self) -> bool:
        """True when no rule failed."""
        return self.reason is Reason.APPROVED

    @property
    def decision(self) -> Decision:
        """The answer's code."""
        return Decision.APPROVED if self.approved else Decision.DECLINED

    @property
    def response_code(self) -> str:
        """ISO 8583 data element 39."""
        return RESPONSE_CODE[self.reason]

    @property
    def is_storable(self) -> bool:
        """False for a request so malformed that the database could not hold it."""
        return not MALFORMED.intersection(self.hits)


Hit = Reason | None
Rule = Callable[[AuthorizationRequested, CardFacts, datetime], Hit]
MALFORMED = frozenset({Reason.FORMAT_ERROR, Reason.INVALID_AMOUNT})


def decide(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Verdict:
    """The verdict on a request. A request whose caller has stopped waiting is never approved."""
    hits = tuple(hit for rule in RULES if (hit := rule(request, facts, now)) is not None)
    return Verdict(hits[0] if hits else Reason.APPROVED, hits)


def derived_id(kind: str, idempotency_key: str) -> str:
    """The id of the key's authorization, hold or ledger entry."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}:{idempotency_key}"))


def well_formed(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """Every field has its form, and the request is not from the future."""
    if any(not p.fullmatch(getattr(request, name)) for name, p in PATTERNS.items()):
        return Reason.FORMAT_ERROR
    if request.requested_at > now + CLOCK_SKEW:
        return Reason.FORMAT_ERROR
    return None


def amount_is_valid(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """Neither negative nor absurd; refunds have their own kind."""
    is_valid = 0 <= request.amount_minor <= LARGEST_AMOUNT_MINOR
    return None if is_valid else Reason.INVALID_AMOUNT


def in_time(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """The caller still waits."""
    return Reason.DEADLINE_EXCEEDED if now > request.deadline_at else None


def card_is_known(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """There is such a card."""
    return Reason.UNKNOWN_CARD if facts.card is None else None


def card_is_active(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """Lost and stolen have reasons of their own."""
    if facts.card is None or facts.card.status == CardStatus.ACTIVE:
        return None
    by_status: dict[str, Reason] = {
        CardStatus.LOST: Reason.CARD_LOST,
        CardStatus.STOLEN: Reason.CARD_STOLEN,
    }
    return by_status.get(facts.card.status, Reason.CARD_NOT_ACTIVE)


def card_is_not_expired(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """The last day counts, in UTC."""
    has_expired = facts.card is not None and now.date() > facts.card.expires_on
    return Reason.CARD_EXPIRED if has_expired else None


def account_is_active(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """The card draws on an account in use."""
    if facts.card is None:
        return None
    is_active = facts.account is not None and facts.account.status == AccountStatus.ACTIVE
    return None if is_active else Reason.ACCOUNT_NOT_ACTIVE


def customer_is_active(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """The account's owner may use products."""
    if facts.card is None:
        return None
    is_active = facts.customer is not None and facts.customer.status == CustomerStatus.ACTIVE
    return None if is_active else Reason.CUSTOMER_NOT_ACTIVE


def kyc_is_valid(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """Some kind of check has passed and not run out, and no kind's latest check was failed."""
    if facts.card is None:
        return None
    latest = _latest_of_each_type(facts.kyc)
    is_rejected = any(record.status == KycStatus.REJECTED for record in latest)
    is_verified = any(
        record.status == KycStatus.VERIFIED
        and (record.expires_at is None or now < record.expires_at)
        for record in latest
    )
    return None if is_verified and not is_rejected else Reason.KYC_NOT_VALID


def currency_is_the_accounts(
    request: AuthorizationRequested, facts: CardFacts, now: datetime
) -> Hit:
    """No conversion: a known currency, and the account's own."""
    is_ours = facts.account is None or request.currency == facts.account.currency
    is_known = request.currency in EXPONENT
    return None if is_known and is_ours else Reason.CURRENCY_NOT_SUPPORTED


def merchant_is_allowed(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """Neither embargoed nor closed to the product."""
    is_junior = facts.card is not None and facts.card.product == CardProduct.JUNIOR
    is_refused = request.merchant_country in EMBARGOED_COUNTRIES or (
        is_junior and request.mcc in JUNIOR_REFUSED_MCCS
    )
    return Reason.MERCHANT_NOT_ALLOWED if is_refused else None


def within_velocity(request: AuthorizationRequested, facts: CardFacts, now: datetime) -> Hit:
    """Fewer attempts in each window than its limit."""
    is_beyond = any(count >= VELOCITY_LIMITS[name] for name, count in facts.attempts)
    return Reason.VELOCITY_EXCEEDED if is_beyond else None


def within_available_credit(
    request: AuthorizationRequested, facts: CardFacts, now: datetime
) -> Hit:
    """Zero verifies the account and takes nothing."""
    is_beyond = (
        facts.account is not None
        and request.amount_minor > 0
        and request.amount_minor > facts.account.available_minor
    )
    return Reason.INSUFFICIENT_CREDIT if is_beyond else None


RULES: tuple[Rule, ...] = (
    well_formed,
    amount_is_valid,
    in_time,
    card_is_known,
    card_is_active,
    card_is_not_expired,
    account_is_active,
    customer_is_active,
    kyc_is_valid,
    currency_is_the_accounts,
    merchant_is_allowed,
    within_velocity,
    within_available_credit,
)


def _latest_of_each_type(records: Iterable[KycRecord]) -> tuple[KycRecord, ...]:
    latest: dict[str, KycRecord] = {}
    for record in sorted(records, key=lambda r: r.updated_at):
        latest[record.verification_type] = record
    return tuple(latest.values())
