"""What is known of a card when a request is judged, and how that is written down. Pure.

`facts_document` is what a decision stores; `facts_from_document` gives back facts on which the same
verdict follows: with the features as they were, instead of the history they came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from schemas.events import AuthorizationRequested
from schemas.features import DECISION_SET, DECISION_VERSIONS
from streams.authorization.history import CardHistory

EMPTY = CardHistory.empty()
Features = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Card:
    """The card asked for."""

    account_id: str
    product: str
    status: str
    expires_on: date


@dataclass(frozen=True, slots=True)
class Account:
    """The account it draws on."""

    customer_id: str
    currency: str
    credit_limit_minor: int
    posted_minor: int
    held_minor: int
    status: str
    program_id: str = "standard"

    @property
    def available_minor(self) -> int:
        """What may still be approved."""
        return self.credit_limit_minor - self.posted_minor - self.held_minor


@dataclass(frozen=True, slots=True)
class Customer:
    """Who owns the account."""

    status: str
    country: str


@dataclass(frozen=True, slots=True)
class KycRecord:
    """One check of the customer."""

    verification_type: str
    status: str
    updated_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Collateral and debt of a line, in major units of the prices' currency.

    `numerator` is the sum of amount x price x liquidation threshold, `debt` what is borrowed
    against it apart from the card's holds, `priced_at` when the oldest of the prices was seen.
    """

    numerator: Decimal
    debt: Decimal
    priced_at: datetime | None
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known of a card at the moment of the decision. No card: unknown to us."""

    card: Card | None = None
    account: Account | None = None
    customer: Customer | None = None
    kyc: tuple[KycRecord, ...] = ()
    is_sanctioned: bool = False
    health: Health | None = None
    history: CardHistory = EMPTY
    # True when read from a copy: good enough to approve on, not to refuse on.
    is_copy: bool = False
    # The log position the facts were read at, and where: memory, redis or postgres.
    lsn: str | None = None
    source: str = "postgres"
    # The features of an earlier decision, taken as they were instead of the history's.
    features: Features | None = None


def facts_document(
    request: AuthorizationRequested, facts: CardFacts, features: Features
) -> dict[str, Any]:
    """What a decision rested on, as JSON; features that were unknown are left out.

    Of the request only what its row has no column for: how an increment was asked for, and whether
    a part may be approved.
    """
    card, account, customer, health = facts.card, facts.account, facts.customer, facts.health
    return {
        "request": _request_document(request),
        "card": card and {
            "account_id": card.account_id,
            "product": card.product,
            "status": card.status,
            "expires_on": card.expires_on.isoformat(),
        },
        "account": account and {
            "customer_id": account.customer_id,
            "currency": account.currency,
            "credit_limit_minor": account.credit_limit_minor,
            "posted_minor": account.posted_minor,
            "held_minor": account.held_minor,
            "status": account.status,
            "program_id": account.program_id,
        },
        "customer": customer and {"status": customer.status, "country": customer.country},
        "kyc": [_kyc_document(record) for record in facts.kyc],
        "is_sanctioned": facts.is_sanctioned,
        "health": health and {
            "numerator": str(health.numerator),
            "debt": str(health.debt),
            "priced_at": health.priced_at.isoformat() if health.priced_at else None,
            "currency": health.currency,
        },
        "features": {name: value for name, value in features.items() if value is not None},
        "feature_set": DECISION_SET,
        "feature_versions": DECISION_VERSIONS,
        "lsn": facts.lsn,
        "source": facts.source,
    }  # fmt: skip


def facts_from_document(document: Mapping[str, Any]) -> CardFacts:
    """The facts of a stored decision; ValueError when it logged none, or by other definitions."""
    if "features" not in document:
        raise ValueError("no facts were logged: the decision was not made here")
    if document["feature_versions"] != DECISION_VERSIONS:
        raise ValueError(
            f"features of {document['feature_set']} had other definitions than they have now:"
            f" {document['feature_versions']}"
        )
    card, health = document["card"], document["health"]
    return CardFacts(
        card=card and Card(**{**card, "expires_on": date.fromisoformat(card["expires_on"])}),
        account=document["account"] and Account(**document["account"]),
        customer=document["customer"] and Customer(**document["customer"]),
        kyc=_kyc(document["kyc"]),
        is_sanctioned=document["is_sanctioned"],
        health=health and Health(
            Decimal(health["numerator"]),
            Decimal(health["debt"]),
            _moment(health["priced_at"]),
            health["currency"],
        ),
        lsn=document["lsn"],
        source=document["source"],
        features={**dict.fromkeys(DECISION_VERSIONS), **document["features"]},
    )  # fmt: skip


def _request_document(request: AuthorizationRequested) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if request.partial_allowed:
        asked["partial_allowed"] = True
    if request.original_key is not None:
        asked["original_key"] = request.original_key
        asked["amount_is_total"] = request.amount_is_total
        # Its row has what it added.
        asked["amount_minor"] = request.amount_minor
    return asked


def _kyc_document(record: KycRecord) -> dict[str, str | None]:
    return {
        "verification_type": record.verification_type,
        "status": record.status,
        "updated_at": record.updated_at.isoformat(),
        "expires_at": record.expires_at.isoformat() if record.expires_at else None,
    }


def _kyc(records: Sequence[Mapping[str, Any]]) -> tuple[KycRecord, ...]:
    return tuple(
        KycRecord(
            record["verification_type"],
            record["status"],
            datetime.fromisoformat(record["updated_at"]),
            _moment(record["expires_at"]),
        )
        for record in records
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
