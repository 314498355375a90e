"""Events that are not captured rows; their Avro schemas are the files of schemas/events.

Requests and answers of the stream are frozen dataclasses here, with the schema's own fields. What
happened in the system of record goes through the outbox: `load(type)` knows each such event, whose
schema begins with the fields of ENVELOPE. Times are UTC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from schemas.codes import EventClass
from schemas.codes_card import MessageKind, Network

FOLDER = Path(__file__).parent / "events"
# What every event of the outbox says of itself, before what it says of its subject.
ENVELOPE = (
    "event_id",
    "event_class",
    "occurred_at",
    "correlation_id",
    "causation_id",
    "tenant_id",
    "actor_id",
    "traceparent",
    "aggregate_id",
)


@dataclass(frozen=True)
class EventType:
    """One kind of event of the outbox: `credit.<entity>.<past participle>` and its schema."""

    name: str
    version: int
    event_class: EventClass
    file: Path
    schema: dict[str, Any]

    @property
    def topic(self) -> str:
        """Where it goes."""
        return f"{self.name}.v{self.version}"

    @property
    def aggregate_type(self) -> str:
        """What it happened to: the entity of its name."""
        return self.name.split(".")[1]

    @property
    def own_fields(self) -> tuple[str, ...]:
        """The fields that a payload gives."""
        return tuple(f["name"] for f in self.schema["fields"][len(ENVELOPE) :])


@cache
def load_all(folder: Path = FOLDER) -> tuple[EventType, ...]:
    """Every event of the outbox by name, the newest version of each."""
    newest: dict[str, EventType] = {}
    for file in sorted(folder.glob("*.avsc")):
        schema = json.loads(file.read_text(encoding="utf-8"))
        if "event_class" not in schema:
            continue  # a request or an answer of the stream
        name, _, version = file.stem.rpartition(".v")
        found = EventType(name, int(version), EventClass(schema["event_class"]), file, schema)
        if name not in newest or newest[name].version < found.version:
            newest[name] = found
    return tuple(newest[name] for name in sorted(newest))


def load(name: str) -> EventType:
    """The event called `name`, without its version; KeyError naming what is like it."""
    by_name = {event.name: event for event in load_all()}
    if name not in by_name:
        entity = name.split(".")[1] if name.count(".") else ""
        near = [known for known in by_name if known.split(".")[1] == entity] or sorted(by_name)
        raise KeyError(f"no event is called {name!r}; there are {', '.join(near)}")
    return by_name[name]


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
    message_kind: str = MessageKind.PURCHASE
    original_key: str | None = None
    amount_is_total: bool = False
    partial_allowed: bool = False
    network: str = Network.DOMESTIC
    terminal_latitude_e6: int | None = None
    terminal_longitude_e6: int | None = None


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
    message_kind: str = MessageKind.PURCHASE
    stand_in: bool = False
    risk_score: int | None = None
    rules_hit: Sequence[str] = ()


def request_hash(
    *,
    card_id: str,
    amount_minor: int,
    currency: str,
    merchant_id: str,
    mcc: str,
    merchant_country: str,
    channel: str,
    message_kind: str = MessageKind.PURCHASE,
    original_key: str | None = None,
    amount_is_total: bool = False,
    partial_allowed: bool = False,
    network: str = Network.DOMESTIC,
    terminal_latitude_e6: int | None = None,
    terminal_longitude_e6: int | None = None,
) -> str:
    """SHA-256 of what is asked for: the same key with another hash is a conflict, not a repeat.

    Where the terminal stands is not part of it: a repeat may know it better.
    """
    body = (
        card_id.lower(),
        amount_minor,
        currency,
        merchant_id,
        mcc,
        merchant_country,
        channel,
        message_kind,
        original_key,
        amount_is_total,
        partial_allowed,
        network,
    )
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
