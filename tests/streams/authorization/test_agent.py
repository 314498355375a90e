"""The authorization agent's handler on a real Postgres and a real Redis, without Kafka."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from redis.asyncio import Redis

from millrace.stack import Stack
from schemas.events import AuthorizationDecided, AuthorizationRequested, request_hash
from streams import ledger, store
from streams.authorization import agent
from streams.authorization.facts import Facts
from streams.authorization.histories import Histories
from streams.authorization.known import CardFacts
from streams.authorization.ruleset_source import RuleSetSource
from streams.batches import Message
from streams.ledger import Ledger
from streams.outages import breaker
from streams.store import Store
from tests.cards import UsableCard, new_card, query

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


@pytest.fixture
async def desk(postgres_only: Stack, redis_url: str) -> AsyncIterator[Desk]:
    dsn = postgres_only.env["MILLRACE_OLTP_DSN"]
    pool = ledger.pool(dsn)
    await pool.open()
    client = store.connect(redis_url, 2000)
    await client.flushall()
    rules = RuleSetSource(pool)
    await rules.refresh()
    yield Desk(dsn, client, None, Ledger(pool), rules).another()  # type: ignore[arg-type]
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


SANCTIONED = """
insert into kyc.aml_checks (aml_check_id, customer_id, check_type, status, provider, list_name,
    list_version, list_sha256, checked_at)
values (gen_random_uuid(), %s, 'SANCTIONS', 'CONFIRMED_MATCH', 'test', 'OFAC', '1', %s, now())
"""


def sanctioned(dsn: str, card: UsableCard) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(SANCTIONED, (card.customer_id, "0" * 64))


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
    assert query(desk.dsn, stored, [r.idempotency_key for r in requests]) == [(4,)]


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


async def copied(desk: Desk, card: UsableCard) -> CardFacts:
    """The facts as soon as they are those of the copies that the first reading put back."""
    for _ in range(200):
        (facts,) = (await desk.facts.read([card.card_id])).values()
        if facts.is_copy:
            return facts
        await asyncio.sleep(0.01)
    raise AssertionError("no copy came")


async def test_copies_say_what_the_database_says(desk: Desk) -> None:
    card = new_card(desk.dsn)
    sanctioned(desk.dsn, card)
    (from_record,) = (await desk.facts.read([card.card_id])).values()
    found = await copied(desk, card)
    assert (from_record.is_copy, from_record.source) == (False, "postgres")
    assert (found.is_copy, found.source) == (True, "redis")
    assert found.is_sanctioned
    assert from_record.lsn is not None
    same = {"is_copy": False, "source": "", "lsn": None}
    assert replace(found, **same) == replace(from_record, **same)


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
    await copied(desk, card)
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
