"""Decides a request: checks and rules in order, the first that refuses gives the reason. Pure.

The order: form, amount and deadline; card, account and customer; expiry; sanctions and KYC;
currency; then the rules of lists, velocity and risk, the risk score, available credit, and health.
Amounts are minor units of the request's currency. What must hold exactly under concurrency (credit,
spend limits, increments) is judged again under the database's lock: an approval here may become
less there, a refusal stays one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from schemas.codes import (
    EXPONENT,
    RESPONSE_CODE,
    AccountStatus,
    CardStatus,
    CustomerStatus,
    Decision,
    KycStatus,
    Reason,
)
from schemas.events import AuthorizationRequested
from streams.authorization import health
from streams.authorization.form import LARGEST_AMOUNT_MINOR, amount_is_valid, malformed_field
from streams.authorization.history import EPOCH, MILLISECOND, milliseconds
from streams.authorization.known import (
    Account,
    Card,
    CardFacts,
    Customer,
    Features,
    Health,
    KycRecord,
    facts_document,
    facts_from_document,
)
from streams.authorization.rules import Hit, RuleSet, Signal

__all__ = [
    "LARGEST_AMOUNT_MINOR", "Account", "Card", "CardFacts", "Customer", "Health", "Hit",
    "KycRecord", "RuleSet", "Signal", "Verdict", "decide", "derived_id", "facts_document",
    "facts_from_document", "well_formed",
]  # fmt: skip

# Ids follow from the key, so a request that is decided again names the same rows.
NAMESPACE = uuid.UUID("6b1f7f0e-6e0b-5c39-9a53-1f6f2d8f4a10")
VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
# The database holds no malformed request, and a late one takes no key.
UNSTORED = frozenset({Reason.FORMAT_ERROR, Reason.INVALID_AMOUNT, Reason.DEADLINE_EXCEEDED})
BY_CARD_STATUS: dict[str, Reason] = {
    CardStatus.LOST: Reason.CARD_LOST,
    CardStatus.STOLEN: Reason.CARD_STOLEN,
}
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Verdict:
    """The policy's answer: the first refusal's reason, every refusal, and what they rest on."""

    reason: Reason
    hits: tuple[Hit, ...]
    rule_version: str
    moment: datetime
    features: Features
    risk_score: int = 0
    signals: tuple[Signal, ...] = ()

    @property
    def approved(self) -> bool:
        """True when nothing refused."""
        return self.reason is Reason.APPROVED

    @property
    def decision(self) -> Decision:
        """The answer's code."""
        return Decision.APPROVED if self.approved else Decision.DECLINED

    @property
    def response_code(self) -> str:
        """ISO 8583 data element 39."""
        return RESPONSE_CODE[self.reason]

    @cached_property
    def is_storable(self) -> bool:
        """False for a request so malformed that the database could not hold it, or a late one."""
        return not any(hit.reason in UNSTORED for hit in self.hits)


def decide(
    request: AuthorizationRequested, facts: CardFacts, rules: RuleSet, now: datetime
) -> Verdict:
    """The verdict on a request. One whose caller has stopped waiting is never approved."""
    moment, moment_ms = _moment(now, facts.history.last_decided_at_ms)
    if (malformed := well_formed(request, moment)) is not None:
        return Verdict(malformed.reason, (malformed,), rules.version, moment, {})
    features = facts.features
    if features is None:
        features = facts.history.features(moment_ms, request)
    values = _values(request, facts, features)
    hits = _standing(request, facts, moment)
    hits += rules.hits(values)
    signals = rules.signals(values)
    score = sum(signal.points for signal in signals)
    if score >= rules.decline_at:
        hits.append(_too_risky(score, rules.decline_at, signals))
    account = facts.account
    if account is not None:
        if short := _credit(request, account):
            hits.append(short)
        if low := _health(request, account, facts.health, rules, moment):
            hits.append(low)
    hits += rules.health_hits(values)
    reason = hits[0].reason if hits else Reason.APPROVED
    return Verdict(reason, tuple(hits), rules.version, moment, features, score, signals)


def derived_id(kind: str, idempotency_key: str) -> str:
    """The id of the key's authorization, hold or ledger entry."""
    # uuid.uuid5 in a third of the time: each authorization has three of them.
    digest = hashlib.sha1(
        NAMESPACE.bytes + f"{kind}:{idempotency_key}".encode(), usedforsecurity=False
    )
    x = digest.hexdigest()
    return f"{x[:8]}-{x[8:12]}-5{x[13:16]}-{VARIANT[x[16]]}{x[17:20]}-{x[20:32]}"


def well_formed(request: AuthorizationRequested, now: datetime) -> Hit | None:
    """Why the database could not hold the request, or None."""
    if (field := malformed_field(request, now)) is not None:
        return Hit("format", Reason.FORMAT_ERROR, f"{field} has not the form it must have")
    if not amount_is_valid(request):
        return Hit(
            "amount",
            Reason.INVALID_AMOUNT,
            f"{request.amount_minor} is no amount of a {request.message_kind};"
            f" 0 to {LARGEST_AMOUNT_MINOR} are, and of a verification 0",
        )
    return None


def _moment(now: datetime, last_ms: int) -> tuple[datetime, int]:
    """When the decision is taken, and in milliseconds: never before the card's last one."""
    now_ms = milliseconds(now)
    if now_ms > last_ms:
        return now, now_ms
    # The end of that millisecond: the last decision may have been anywhere in it.
    return max(now, EPOCH + (last_ms + 1) * MILLISECOND - MICROSECOND), max(now_ms, last_ms)


def _values(
    request: AuthorizationRequested, facts: CardFacts, features: Features
) -> Mapping[str, Any]:
    """What rules may look at: features, and the fields named in conditions.FIELDS."""
    card, account, customer = facts.card, facts.account, facts.customer
    return {
        **features,
        "amount_minor": request.amount_minor,
        "merchant_id": request.merchant_id,
        "mcc": request.mcc,
        "merchant_country": request.merchant_country,
        "channel": request.channel,
        "network": request.network,
        "currency": request.currency,
        "message_kind": request.message_kind,
        "product": card.product if card else None,
        "program_id": account.program_id if account else None,
        "utilization_percent": _utilization(request, account) if account else None,
        "customer_country": customer.country if customer else None,
        "region": _region(request, customer) if customer else None,
    }


def _utilization(request: AuthorizationRequested, account: Account) -> int:
    """How much of the limit would be used, rounded down; all of it when there is none."""
    used = account.posted_minor + account.held_minor + request.amount_minor
    limit = account.credit_limit_minor
    return used * 100 // limit if limit else 100


def _region(request: AuthorizationRequested, customer: Customer) -> str:
    return "home" if request.merchant_country == customer.country else "abroad"


def _standing(request: AuthorizationRequested, facts: CardFacts, moment: datetime) -> list[Hit]:
    """Refusals that no version of the rules can do without."""
    hits: list[Hit] = []
    if moment > request.deadline_at:
        late_ms = (moment - request.deadline_at) // MILLISECOND
        hits.append(
            Hit(
                "deadline", Reason.DEADLINE_EXCEEDED, f"the caller stopped waiting {late_ms} ms ago"
            )
        )
    card, account, customer = facts.card, facts.account, facts.customer
    if card is None:
        hits.append(Hit("card", Reason.UNKNOWN_CARD, f"there is no card {request.card_id}"))
    else:
        if card.status != CardStatus.ACTIVE:
            reason = BY_CARD_STATUS.get(card.status, Reason.CARD_NOT_ACTIVE)
            hits.append(Hit("card_status", reason, f"the card is {card.status}"))
        if account is None or account.status != AccountStatus.ACTIVE:
            said = f"the account is {account.status}" if account else "the card has no account"
            hits.append(Hit("account_status", Reason.ACCOUNT_NOT_ACTIVE, said))
        if customer is None or customer.status != CustomerStatus.ACTIVE:
            said = f"the customer is {customer.status}" if customer else "nobody owns the account"
            hits.append(Hit("customer_status", Reason.CUSTOMER_NOT_ACTIVE, said))
        # The last day counts, in UTC.
        if moment.date() > card.expires_on:
            said = f"the card was valid through {card.expires_on}"
            hits.append(Hit("expiry", Reason.CARD_EXPIRED, said))
        if facts.is_sanctioned:
            said = "the customer is confirmed to be on a sanctions list"
            hits.append(Hit("sanctions", Reason.SANCTIONED, said))
        if problem := _kyc_problem(facts.kyc, moment):
            hits.append(Hit("kyc", Reason.KYC_NOT_VALID, problem))
    if request.currency not in EXPONENT or (account and request.currency != account.currency):
        ours = f"; the account's is {account.currency}" if account else ""
        said = f"{request.currency} is not converted{ours}"
        hits.append(Hit("currency", Reason.CURRENCY_NOT_SUPPORTED, said))
    return hits


def _kyc_problem(records: tuple[KycRecord, ...], moment: datetime) -> str | None:
    """Some kind of check has passed and not run out, and no kind's latest check was failed."""
    latest: dict[str, KycRecord] = {}
    for record in records:
        known = latest.get(record.verification_type)
        if known is None or record.updated_at >= known.updated_at:
            latest[record.verification_type] = record
    is_verified = False
    for record in latest.values():
        if record.status == KycStatus.REJECTED:
            return f"the latest {record.verification_type} check was rejected"
        if record.status == KycStatus.VERIFIED:
            is_verified |= record.expires_at is None or moment < record.expires_at
    return None if is_verified else f"none of {len(latest)} kinds of checks holds"


def _too_risky(score: int, decline_at: int, signals: tuple[Signal, ...]) -> Hit:
    parts = ", ".join(f"{one.points} for {one.rule} ({one.explanation})" for one in signals)
    said = f"risk {score}, refused from {decline_at}: {parts}"
    return Hit("risk_score", Reason.RISK_TOO_HIGH, said)


def _health(
    request: AuthorizationRequested,
    account: Account,
    known: Health | None,
    rules: RuleSet,
    moment: datetime,
) -> Hit | None:
    """Zero borrows nothing. Of a new total all is counted: more than it adds, never less."""
    if rules.health is None or request.amount_minor == 0:
        return None
    return health.hit(rules.health, account, known, request.amount_minor, moment)


def _credit(request: AuthorizationRequested, account: Account) -> Hit | None:
    """Zero takes nothing; a part may be taken; what a new total adds only the database knows."""
    amount, available = request.amount_minor, account.available_minor
    if amount <= available or amount == 0 or request.amount_is_total:
        return None
    if request.partial_allowed and available > 0:
        return None
    return Hit(
        "available_credit", Reason.INSUFFICIENT_CREDIT,
        f"{amount} was asked for, {max(0, available)} is available",
    )  # fmt: skip
