"""Stand-in on real services: whoever is away, one answer a key in time, and afterwards one truth.

Each test has gateways of its own, so that circuits and journals are, over the session's stack.
"""

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest
import redis

from millrace.stack import Stack
from tests.cards import UsableCard, query
from tests.integration.standing import (
    BUSY_MS,
    FLAGGED,
    OPEN_S,
    PATH,
    another,
    ask,
    gist,
    held,
    process,
    repeated,
    settled,
    without,
)

pytestmark = pytest.mark.stack


async def test_in_time_the_decider_answers(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    answer = await ask(gateway, card.body(1000))
    assert gist(answer) == ("APPROVED", "00", 1000)
    assert not answer["stand_in"]
    assert held(dsn, card) == (1000, 1, 1000)


async def test_without_a_decider_small_purchases_are_approved_and_become_holds(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    small = [card.body(1000, deadline_ms=500) for _ in range(5)]
    large = card.body(5001, deadline_ms=500)
    async with without(stack, "worker"):
        answers = [await ask(gateway, body) for body in small]
        refused = await ask(gateway, large)
        assert all(a["stand_in"] and a["latency_ms"] < 500 + BUSY_MS for a in (*answers, refused))
        assert [a["response_code"] for a in answers] == ["00", "00", "00", "91", "91"]
        assert gist(refused) == ("DECLINED", "91", 0)
        # The circuit is open: nobody waits for the decider any more.
        started = time.monotonic()
        assert (await ask(gateway, card.body(1, deadline_ms=10_000)))["response_code"] == "91"
        assert time.monotonic() - started < 1
        told_before = [await repeated(gateway, body) for body in small]
    await settled(dsn, copies, card, *small, large)
    assert held(dsn, card) == (3000, 3, 3000)
    assert query(dsn, FLAGGED, card.account_id) == [(3,)]
    assert [await repeated(gateway, body) for body in small] == told_before
    stored = (await gateway.get(f"{PATH}/{small[0]['network_transaction_id']}")).json()
    assert (stored["is_stand_in"], stored["reason_code"]) == (True, "STAND_IN_APPROVED")
    assert stored["authorization_id"] == answers[0]["authorization_id"]
    # The record says the same to who never heard of the journal.
    async with another(stack, "record") as client:
        assert [await repeated(client, body) for body in small] == told_before


async def test_after_the_pause_the_decider_is_asked_again(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard
) -> None:
    async with without(stack, "worker"):
        for _ in range(5):
            await ask(gateway, card.body(9000, deadline_ms=300))
        parts = (await gateway.get("/health")).json()["parts"]
        assert parts["circuit"] == {"status": "warn", "detail": "open", "observed": None}
    await asyncio.sleep(OPEN_S)
    for _ in range(3):
        assert not (await ask(gateway, card.body(100)))["stand_in"]
    assert (await gateway.get("/health")).json()["parts"]["circuit"]["status"] == "pass"


async def test_without_postgres_stand_in_answers_from_its_copies(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    small, large = card.body(1000, deadline_ms=500), card.body(9000, deadline_ms=500)
    async with without(stack, "postgres"):
        first = await ask(gateway, small)
        assert gist(first) == ("APPROVED", "00", 1000)
        assert gist(await ask(gateway, large)) == ("DECLINED", "91", 0)
        assert await repeated(gateway, small) == gist(first)
    await settled(dsn, copies, card, small, large)
    assert held(dsn, card) == (1000, 1, 1000)
    assert await repeated(gateway, small) == gist(first)


async def test_without_redis_and_a_decider_everything_is_declined_in_time(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    bodies = [card.body(100, deadline_ms=500) for _ in range(4)]
    async with without(stack, "worker", "redis"):
        answers = await asyncio.gather(*(ask(gateway, body) for body in bodies))
        assert {gist(answer) for answer in answers} == {("DECLINED", "91", 0)}
        assert max(answer["latency_ms"] for answer in answers) < 500 + BUSY_MS
    await settled(dsn, copies, card, *bodies)
    assert held(dsn, card) == (0, 0, 0)
    assert await repeated(gateway, bodies[0]) == ("DECLINED", "91", 0)


async def test_without_kafka_answers_wait_in_the_journal_and_are_told_later(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    small, large = card.body(1000, deadline_ms=500), card.body(9000, deadline_ms=500)
    async with without(stack, "kafka"):
        assert gist(await ask(gateway, small)) == ("APPROVED", "00", 1000)
        assert gist(await ask(gateway, large)) == ("DECLINED", "91", 0)
        assert "millrace_gateway_journal_backlog 2.0" in (await gateway.get("/metrics")).text
    await settled(dsn, copies, card, small, large)
    assert held(dsn, card) == (1000, 1, 1000)
    assert "millrace_gateway_journal_backlog 0.0" in (await gateway.get("/metrics")).text
    assert await repeated(gateway, small) == ("APPROVED", "00", 1000)


async def test_a_gateway_that_is_killed_forgets_nothing_it_has_told(
    stack: Stack, tmp_path: Path, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    body = card.body(1000, deadline_ms=800)
    async with without(stack, "kafka"):
        with process(stack, tmp_path) as (url, victim):
            async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                first = gist(await ask(client, body))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        assert first == ("APPROVED", "00", 1000)
        with process(stack, tmp_path) as (url, _):
            async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                assert await repeated(client, body) == first
    with process(stack, tmp_path):
        await settled(dsn, copies, card, body)
    assert held(dsn, card) == (1000, 1, 1000)
