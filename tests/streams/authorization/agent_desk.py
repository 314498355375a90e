"""The agent's handler with its means: a real Postgres, a real Redis, and no Kafka."""

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from redis.asyncio import Redis

from schemas.events import AuthorizationDecided, AuthorizationRequested, request_hash
from streams.authorization import agent
from streams.authorization.facts import Facts
from streams.authorization.histories import Histories
from streams.authorization.known import CardFacts
from streams.authorization.ruleset_source import RuleSetSource
from streams.batch_agents import Message
from streams.ledger import Ledger
from streams.outages import breaker
from streams.store import Store
from tests.cards import UsableCard

PARTITION = SimpleNamespace(partition=0)


@dataclass
class Sent:
    """Stands where the decided topic is, and keeps what it is given."""

    decisions: list[AuthorizationDecided] = field(default_factory=list)

    async def send(self, decided: Iterable[tuple[int, AuthorizationDecided]]) -> None:
        self.decisions.extend(decision for _, decision in decided)


@dataclass
class Desk:
    """The handler with its means."""

    dsn: str
    redis: Redis
    facts: Facts
    ledger: Ledger
    rules: RuleSetSource

    async def decide(self, *requests: AuthorizationRequested) -> list[AuthorizationDecided]:
        sent = Sent()
        means = agent.Means(self.facts, self.ledger, sent, self.rules)  # type: ignore[arg-type]
        messages = [Message(request, PARTITION) for request in requests]  # type: ignore[arg-type]
        await agent.authorize.handle(messages, means)
        return sent.decisions

    def another(self) -> "Desk":
        """Another worker: it has nothing in mind."""
        worker = Store(self.redis)
        histories = Histories(worker, breaker("test"))
        facts = Facts(worker, self.ledger, histories, breaker("test"))
        return Desk(self.dsn, self.redis, facts, self.ledger, self.rules)


def request(card: UsableCard, amount_minor: int = 100, **changes: Any) -> AuthorizationRequested:
    now = datetime.now(UTC)
    asked = {
        "card_id": card.card_id,
        "amount_minor": amount_minor,
        "currency": "CZK",
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "CZ",
        "channel": "CHIP",
    }
    fields = {
        "request_id": str(uuid.uuid4()),
        "idempotency_key": str(uuid.uuid4()),
        "requested_at": now,
        "deadline_at": now + timedelta(seconds=30),
        "correlation_id": "c",
    }
    asked |= {name: changes.pop(name) for name in list(changes) if name in asked}
    return AuthorizationRequested(**asked, **(fields | changes), request_hash=request_hash(**asked))


def about(original: AuthorizationRequested, kind: str, **changes: Any) -> AuthorizationRequested:
    """A message of the kind about an earlier request."""
    key = f"{kind}:{uuid.uuid4()}"
    same = {"original_key": original.idempotency_key, "idempotency_key": key, "request_id": key}
    return replace(original, message_kind=kind, **(same | changes))


async def copied(desk: Desk, card: UsableCard) -> CardFacts:
    """The facts as soon as they are those of the copies that the first reading put back."""
    for _ in range(200):
        (facts,) = (await desk.facts.read([card.card_id])).values()
        if facts.is_copy:
            return facts
        await asyncio.sleep(0.01)
    raise AssertionError("no copy came")


DECIDED = """
select card_version, facts from card.authorizations where card_id = %s order by card_version
"""
HELD = "select held_minor from card.card_accounts where account_id = %s"
