"""The authorization agent's handler on a real Postgres and a real Redis, without Kafka."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from redis.asyncio import Redis

from millrace.stack import Stack
from schemas import keys
from schemas.events import AuthorizationDecided, AuthorizationRequested, request_hash
from streams import ledger, store
from streams.authorization import agent
from streams.authorization.facts import Facts
from streams.batches import Message
from streams.ledger import Ledger
from streams.store import Store
from tests.cards import UsableCard, new_card, query


@dataclass
class Sent:
    """Stands where the decided topic is, and keeps what it is given."""

    decisions: list[AuthorizationDecided] = field(default_factory=list)

    async def send(self, decided: list[AuthorizationDecided]) -> None:
        self.decisions.extend(decided)


@dataclass
class Desk:
    """The handler with its means."""

    dsn: str
    redis: Redis
    facts: Facts
    ledger: Ledger

    async def decide(self, *requests: AuthorizationRequested) -> list[AuthorizationDecided]:
        sent = Sent()
        means = agent.Means(self.facts, self.ledger, sent)  # type: ignore[arg-type]
        messages = [Message(request, None) for request in requests]  # type: ignore[arg-type]
        await agent.authorize.handle(messages, means)
        return sent.decisions


@pytest.fixture
async def desk(postgres_only: Stack, redis_url: str) -> AsyncIterator[Desk]:
    dsn = postgres_only.env["MILLRACE_OLTP_DSN"]
    pool = ledger.pool(dsn)
    await pool.open()
    client = store.connect(redis_url, 2000)
    await client.flushall()
    record = Ledger(pool)
    yield Desk(dsn, client, Facts(Store(client), record), record)
    await client.aclose()
    await pool.close()


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


async def test_a_batch_is_answered_in_order_and_each_request_on_its_own_merits(desk: Desk) -> None:
    card, poor = new_card(desk.dsn), new_card(desk.dsn, credit_limit_minor=99)
    unknown = UsableCard(str(uuid.uuid4()), "", "")
    requests = [
        request(card),
        request(poor),
        request(unknown),
        request(card, mcc="x"),
        request(card, amount_minor=-1),
        request(card, amount_minor=0),
        request(card, deadline_at=datetime.now(UTC) - timedelta(seconds=1)),
    ]
    decided = await desk.decide(*requests)
    assert [d.request_id for d in decided] == [r.request_id for r in requests]
    assert [d.response_code for d in decided] == ["00", "51", "14", "30", "13", "00", "91"]
    stored = "select count(*) from card.authorizations where idempotency_key = any(%s)"
    assert query(desk.dsn, stored, [r.idempotency_key for r in requests]) == [(5,)]


async def test_a_redelivered_batch_gets_its_stored_decisions(desk: Desk) -> None:
    card = new_card(desk.dsn, credit_limit_minor=100)
    batch = [request(card), request(card)]
    first = await desk.decide(*batch)
    again = await desk.decide(*batch)
    assert [d.response_code for d in first] == ["00", "51"]
    assert all(d.replayed for d in again)
    assert [(d.authorization_id, d.reason_code, d.decided_at) for d in first] == [
        (d.authorization_id, d.reason_code, d.decided_at) for d in again
    ]


async def test_the_second_decision_is_taken_on_copies_and_equals_the_first(desk: Desk) -> None:
    card = new_card(desk.dsn)
    now = datetime.now(UTC)
    (from_record,) = (await desk.facts.read([card.card_id], now)).values()
    await desk.redis.hset(keys.velocity_meta("card", card.card_id), "complete", "1")
    for _ in range(50):
        (copied,) = (await desk.facts.read([card.card_id], now)).values()
        if copied.is_copy:
            break
    assert (from_record.is_copy, copied.is_copy) == (False, True)
    assert (copied.card, copied.account, copied.customer, copied.kyc, copied.attempts) == (
        from_record.card,
        from_record.account,
        from_record.customer,
        from_record.kyc,
        from_record.attempts,
    )


STALE = [
    ("card.card_accounts set credit_limit_minor = 500", "account_id", "00"),
    ("card.card_accounts set status = 'FROZEN'", "account_id", "62"),
    ("card.cards set status = 'LOST'", "card_id", "41"),
]


@pytest.mark.parametrize(("change", "column", "code"), STALE)
async def test_what_changed_since_the_copy_was_made_decides(
    desk: Desk, change: str, column: str, code: str
) -> None:
    card = new_card(desk.dsn, credit_limit_minor=100)
    await desk.redis.hset(keys.velocity_meta("card", card.card_id), "complete", "1")
    now = datetime.now(UTC)
    while not (await desk.facts.read([card.card_id], now))[card.card_id].is_copy:
        pass
    with psycopg.connect(desk.dsn) as connection:
        connection.execute(f"update {change} where {column} = %s", (getattr(card, column),))
    amount = 500 if code == "00" else 100
    (decided,) = await desk.decide(request(card, amount))
    assert decided.response_code == code


async def test_a_card_with_too_many_attempts_in_a_minute_is_refused(desk: Desk) -> None:
    card = new_card(desk.dsn)
    await desk.decide(*(request(card, 1) for _ in range(120)))
    (decided,) = await desk.decide(request(card, 1))
    assert (decided.response_code, decided.reason_code) == ("59", "VELOCITY_EXCEEDED")


async def test_an_approval_that_would_come_late_is_not_made(desk: Desk) -> None:
    card = new_card(desk.dsn)
    late = request(card, deadline_at=datetime.now(UTC) + timedelta(milliseconds=300))
    with psycopg.connect(desk.dsn) as holder:
        lock = "select 1 from card.card_accounts where account_id = %s for update"
        holder.execute(lock, (card.account_id,))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await desk.decide(late)
    (decided,) = await desk.decide(late)
    assert (decided.response_code, decided.reason_code) == ("91", "DEADLINE_EXCEEDED")


async def test_a_conflict_is_marked_and_changes_nothing(desk: Desk) -> None:
    card = new_card(desk.dsn)
    first = request(card, 100)
    await desk.decide(first)
    (other,) = await desk.decide(request(card, 101, idempotency_key=first.idempotency_key))
    assert other.conflict
    held = "select held_minor from card.card_accounts where account_id = %s"
    assert query(desk.dsn, held, card.account_id) == [(100,)]
