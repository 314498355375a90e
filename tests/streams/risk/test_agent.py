"""The risk agent's handler on a real Postgres and a real Redis, without Kafka."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from millrace.stack import Stack
from schemas import keys
from streams import ledger, store
from streams.batch_agents import Message
from streams.changes import Change, position
from streams.ledger import Ledger
from streams.risk import agent
from streams.store import Store
from tests.cards import new_card

NEW = """
insert into card.authorizations (
    authorization_id, idempotency_key, request_hash, card_id, account_id, amount_minor, currency,
    merchant_id, mcc, merchant_country, channel, decision, response_code, reason_code, rule_hits,
    facts, rule_version, requested_at, decided_at)
values (
    %(authorization_id)s::uuid, %(authorization_id)s::text, repeat('a', 64), %(card_id)s,
    %(account_id)s, %(amount_minor)s, 'CZK', %(merchant_id)s, '5411', %(merchant_country)s, 'CHIP',
    %(decision)s, '00', 'APPROVED', '[]', '{}', '1', now(), %(decided_at)s)
"""


def row(card_id: str, account_id: str, age: timedelta) -> dict[str, Any]:
    return {
        "authorization_id": str(uuid.uuid4()),
        "card_id": card_id,
        "account_id": account_id,
        "amount_minor": 5,
        "merchant_id": "M",
        "merchant_country": "CZ",
        "decision": "APPROVED",
        "decided_at": datetime.now(UTC) - age,
    }


def message(found: dict[str, Any], changed_at: datetime | None = None) -> Message:
    as_captured = {**found, "decided_at": found["decided_at"].isoformat()}
    at_ms = int((changed_at or datetime.now(UTC)).timestamp() * 1000)
    return Message(Change(agent.TOPIC, None, as_captured, position(7, True, 7), 7, at_ms), None)  # type: ignore[arg-type]


async def test_a_set_that_redis_lost_is_filled_from_the_database_before_it_is_complete(
    postgres_only: Stack, redis_url: str
) -> None:
    dsn = postgres_only.env["MILLRACE_OLTP_DSN"]
    card = new_card(dsn)
    ages = (timedelta(days=9), timedelta(days=2), timedelta(seconds=30), timedelta())
    rows = [row(card.card_id, card.account_id, age) for age in ages]
    with psycopg.connect(dsn) as connection:
        connection.cursor().executemany(NEW, rows)
    pool = ledger.pool(dsn)
    await pool.open()
    client = store.connect(redis_url, 2000)
    await client.flushall()
    means = agent.Means(Store(client), Ledger(pool))
    for _ in range(2):
        await agent.score_risk.handle([message(rows[-1])], means)
    for entity, entity_id in (("card", card.card_id), ("account", card.account_id)):
        assert await client.zcard(keys.velocity(entity, entity_id)) == 3
        meta = await client.hgetall(keys.velocity_meta(entity, entity_id))
        run_id = (await client.info("server"))["run_id"]
        assert (meta["complete"], meta["position"]) == (run_id, position(7, True, 7))
    await client.aclose()
    await pool.close()


async def test_a_set_that_was_filled_before_redis_last_started_is_not_known_to_be_complete(
    redis_url: str,
) -> None:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    await client.hset("meta", "complete", "an earlier run")
    assert await Store(client).complete(["meta"]) == [False]
    await client.aclose()


async def test_a_decision_from_the_future_is_not_counted(
    postgres_only: Stack, redis_url: str
) -> None:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    pool = ledger.pool(postgres_only.env["MILLRACE_OLTP_DSN"])
    await pool.open()
    late = row("c", "a", timedelta(days=-365))
    await agent.score_risk.handle([message(late)], agent.Means(Store(client), Ledger(pool)))
    assert await client.keys("*") == []
    await client.aclose()
    await pool.close()
