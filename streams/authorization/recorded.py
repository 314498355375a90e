"""Decisions as the record keeps them: a stored row as the request, the attempt and the facts again.

A card's decisions are numbered (`card_version`), and its history is those with a lower number. Rows
without a number were decided elsewhere (imported, simulated, stood in for) and are no part of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from schemas.events import AuthorizationRequested, request_hash
from schemas.features import DECISION_VERSIONS
from streams.authorization.history import Attempt, CardHistory, milliseconds
from streams.authorization.known import CardFacts, facts_from_document

Row = Mapping[str, Any]
# As long as a history looks back, and a moment: windows are told in whole milliseconds.
LOOKS_BACK = timedelta(days=1, seconds=1)
FOREVER = datetime.max.replace(tzinfo=UTC)
# The caller says which, and in what order.
DECISIONS: LiteralString = """
select
    a.authorization_id::text, a.idempotency_key, a.request_hash, a.message_kind,
    a.parent_authorization_id::text, a.card_id::text, a.account_id::text, a.amount_minor,
    a.approved_amount_minor, a.currency::text, a.merchant_id, a.mcc::text,
    a.merchant_country::text, a.channel, a.network, a.terminal_latitude_e6,
    a.terminal_longitude_e6, a.decision, a.response_code::text, a.reason_code, a.is_stand_in,
    a.rule_hits, a.facts, a.rule_version, a.card_version, a.available_minor, a.requested_at,
    a.decided_at, a.created_at
from card.authorizations a
"""
# Just what a history needs.
ATTEMPTS: LiteralString = """
select
    a.card_version, a.decided_at, a.decision, a.amount_minor, a.approved_amount_minor,
    a.merchant_id, a.mcc::text, a.merchant_country::text, a.channel, a.terminal_latitude_e6,
    a.terminal_longitude_e6, a.currency::text
from card.authorizations a
"""


def has_facts(row: Row) -> bool:
    """True when the decision wrote down what it rested on."""
    return "features" in row["facts"]


def attempt_of(row: Row) -> Attempt:
    """What the row adds to its card's history."""
    return Attempt.from_row(row, milliseconds(row["decided_at"]))


def facts_of(row: Row, history: CardHistory) -> CardFacts:
    """What was known, with the card's history in place of the features that were logged.

    Of a decision without facts only its history is known.
    """
    if not has_facts(row):
        return CardFacts(history=history)
    # The features are computed anew, so how they were defined then does not matter.
    logged = {**row["facts"], "features": {}, "feature_versions": DECISION_VERSIONS}
    facts = facts_from_document(logged)
    # Who does not know the card does not look its history up.
    return replace(facts, history=history if facts.card else CardHistory.empty(), features=None)


def request_of(row: Row) -> AuthorizationRequested:
    """The request that the row answers. It was in time: what is late is not stored."""
    asked = row["facts"].get("request", {})
    return AuthorizationRequested(
        request_id=row["authorization_id"],
        idempotency_key=row["idempotency_key"],
        request_hash=row["request_hash"],
        card_id=row["card_id"],
        amount_minor=asked.get("amount_minor", row["amount_minor"]),
        currency=row["currency"],
        merchant_id=row["merchant_id"],
        mcc=row["mcc"],
        merchant_country=row["merchant_country"],
        channel=row["channel"],
        requested_at=row["requested_at"],
        deadline_at=FOREVER,
        correlation_id="",
        message_kind=row["message_kind"],
        original_key=asked.get("original_key"),
        amount_is_total=asked.get("amount_is_total", False),
        partial_allowed=asked.get("partial_allowed", False),
        network=row["network"],
        terminal_latitude_e6=row["terminal_latitude_e6"],
        terminal_longitude_e6=row["terminal_longitude_e6"],
    )


def hash_of(request: AuthorizationRequested) -> str:
    """The hash that the request must have."""
    hashed = inspect.signature(request_hash).parameters
    return request_hash(**{name: getattr(request, name) for name in hashed})


def approved_minor(row: Row) -> int:
    """What was approved of the amount."""
    return attempt_of(row).approved_amount_minor
