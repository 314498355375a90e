"""Events that are not captured rows, as frozen dataclasses; Avro schemas in schemas/events.

Field names and order equal the Avro schema's (a test holds them together). Times are UTC.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FOLDER = Path(__file__).parent / "events"


@dataclass(frozen=True)
class AuthorizationRequested:
    """One attempt to have a card authorized. The same key may arrive in many attempts.

    `request_hash` is the SHA-256 of the business fields; `deadline_at` is when the caller stops
    waiting: a decision after it declines, so an approval is never late.
    """

    request_id: str
    idempotency_key: str
    request_hash: str
    card_id: str
    amount_minor: int
    currency: str
    merchant_id: str
    mcc: str
    merchant_country: str
    channel: str
    requested_at: datetime
    deadline_at: datetime
    correlation_id: str


@dataclass(frozen=True)
class AuthorizationDecided:
    """The answer to one attempt. `replayed` marks a stored answer, `conflict` a key reused for
    another body (then the decision is the stored one of the first body, and not an answer)."""

    request_id: str
    idempotency_key: str
    authorization_id: str
    card_id: str
    account_id: str | None
    decision: str
    response_code: str
    reason_code: str
    approved_amount_minor: int
    currency: str
    rule_version: str
    replayed: bool
    conflict: bool
    requested_at: datetime
    decided_at: datetime
    correlation_id: str


def request_hash(
    *,
    card_id: str,
    amount_minor: int,
    currency: str,
    merchant_id: str,
    mcc: str,
    merchant_country: str,
    channel: str,
) -> str:
    """SHA-256 of what is asked for: the same key with another hash is a conflict, not a repeat."""
    body = (card_id.lower(), amount_minor, currency, merchant_id, mcc, merchant_country, channel)
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
