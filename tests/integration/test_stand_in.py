"""Stand-in on real services: whoever is away, one answer a key in time, and afterwards one truth.

Each test has gateways of its own, so that circuits and journals are, over the session's stack.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from millrace.stack import Stack
from schemas import keys
from schemas.events import AuthorizationRequested
from serving.app import create_app
from serving.decider import Decider
from serving.settings import Settings
from serving.wire import Wire
from streams.stand_in.policy import ACCOUNT, CARD
from tests.cards import UsableCard, eventually, new_card, query
from tests.faults import invariants
from tests.serving.conftest import asked
from tests.serving.test_standing_in import Office

pytestmark = pytest.mark.stack
PATH, MESSAGES = "/v1/authorizations", "/v1/card-messages"
OPEN_S = 1.0
# What a machine that also runs everything else may add to a time.
BUSY_MS = 300
HELD = """
select a.held_minor, count(h.*) filter (where h.status in ('PENDING', 'PARTIALLY_CAPTURED')),
    (select coalesce(sum(case p.direction when 'DEBIT' then p.amount_minor
        else -p.amount_minor end), 0)
     from ledger.postings p where p.ledger_account_id = a.account_id and p.layer = 'HELD')::bigint
from card.card_accounts a left join card.holds h on h.account_id = a.account_id
where a.account_id = %s group by a.account_id
"""
TOLD = """
select state, outcome, applied_minor from card.card_messages
where message_key = 'advice:' || %s
"""
FLAGGED = """
select count(*) from ledger.entries e join card.holds h using (hold_id)
where h.account_id = %s and e.over_limit_allowed
"""


@pytest.fixture
def dsn(stack: Stack) -> str:
    return stack.env["MILLRACE_OLTP_DSN"]


@pytest.fixture
def card(dsn: str, copies: redis.Redis) -> UsableCard:
    return known_card(dsn, copies)


@pytest.fixture
def copies(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.env["MILLRACE_REDIS"], decode_responses=True)


def known_card(dsn: str, copies: redis.Redis, **limits: Any) -> UsableCard:
    """A card that stand-in knows of too."""
    card = new_card(dsn, **limits)
    eventually(lambda: copies.hget(keys.stand_in_copy(CARD, card.card_id), "is_usable") == "1")
    key = keys.stand_in_copy(ACCOUNT, card.account_id)
    eventually(lambda: copies.hget(key, "available_minor") is not None)
    customer = keys.stand_in_copy("customer", card.customer_id)
    eventually(lambda: copies.hget(customer, "is_sanctioned") == "0")
    eventually(lambda: copies.hget(keys.epoch(), "epoch") is not None)
    return card


def application(stack: Stack, folder: Path, **changes: Any) -> FastAPI:
    env = stack.env
    settings = Settings(
        home=folder,
        kafka=env["MILLRACE_KAFKA"],
        registry=env["MILLRACE_REGISTRY"],
        redis=env["MILLRACE_REDIS"],
        oltp_dsn=env["MILLRACE_OLTP_DSN"],
    )
    return create_app(settings.model_copy(update=changes), circuit_open_s=OPEN_S)


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as client,
    ):
        yield client


@pytest.fixture
async def gateway(stack: Stack, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(application(stack, tmp_path)) as client:
        await listening(client)
        yield client


async def listening(client: httpx.AsyncClient) -> None:
    for _ in range(100):
        health = (await client.get("/health")).json()["parts"]
        if health["kafka"]["status"] == "pass":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the gateway does not connect")


@asynccontextmanager
async def without(stack: Stack, *parts: str) -> AsyncIterator[None]:
    """The parts are stopped inside; the test's own gateway goes on meanwhile."""
    for part in parts:
        await asyncio.to_thread(stack.stop, part)
    try:
        yield
    finally:
        for part in reversed(parts):
            await asyncio.to_thread(stack.start, part)


async def ask(gateway: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await gateway.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def gist(answer: dict[str, Any]) -> tuple[str, str, int]:
    return answer["decision"], answer["response_code"], answer["approved_amount_minor"]


async def repeated(gateway: httpx.AsyncClient, body: dict[str, Any]) -> tuple[str, str, int]:
    again = await ask(gateway, body)
    assert again["replayed"]
    return gist(again)


def held(dsn: str, card: UsableCard) -> tuple[int, int, int]:
    row = query(dsn, HELD, card.account_id)[0]
    return row[0], row[1], row[2]


def told(dsn: str, key: str) -> tuple[Any, ...] | None:
    rows = query(dsn, TOLD, key)
    return rows[0] if rows else None


async def soon(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for the condition beside the test's own gateway."""
    await asyncio.to_thread(eventually, condition, within_s)


async def settled(dsn: str, copies: redis.Redis, card: UsableCard, *bodies: dict[str, Any]) -> None:
    """Every stand-in answer has become part of the record, and its allowance is given back."""
    names = [body["network_transaction_id"] for body in bodies]
    await soon(lambda: all(told(dsn, name) is not None for name in names))
    await soon(lambda: copies.hgetall(keys.stand_ins(CARD, card.card_id)) == {})
    assert copies.hgetall(keys.stand_ins(ACCOUNT, card.account_id)) == {}
    # No hold leaked, none taken twice, the account's total is what its holds and its ledger say.
    assert invariants.books(dsn) == []


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


def another(stack: Stack, name: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """A gateway with an empty journal."""
    folder = stack.layout.home / f"gateway-{name}-{time.time_ns()}"

    @asynccontextmanager
    async def made() -> AsyncIterator[httpx.AsyncClient]:
        async with opened(application(stack, folder)) as client:
            await listening(client)
            yield client

    return made()


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


@contextmanager
def process(stack: Stack, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A gateway as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "uvicorn", "serving.app:app", "--port", str(port), "--no-access-log"]
    started = subprocess.Popen(
        [sys.executable, *words], env=os.environ | stack.env | {"MILLRACE_HOME": str(folder)}
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: answers_at(url))
        yield url, started
    finally:
        started.terminate()
        started.wait()


def answers_at(url: str) -> bool:
    try:
        return httpx.get(f"{url}/metrics").status_code == 200
    except httpx.TransportError:
        return False


class Crossing:
    """A stand-in that answers while the decider has the request too: both are right, in their way.

    It cannot look stored decisions up, so neither knows of the other.
    """

    def __init__(self, stack: Stack, folder: Path) -> None:
        env = stack.env
        self.http = httpx.AsyncClient()
        self.office = Office(folder, env["MILLRACE_REDIS"], "postgresql://u@127.0.0.1:1/oltp")
        self.decider = Decider(env["MILLRACE_KAFKA"], Wire(env["MILLRACE_REGISTRY"], self.http))
        self.office.advisor._decider = self.decider

    async def open(self) -> None:
        await self.office.pool.open(wait=False)
        self.office.journal.start()
        self.decider.start()
        while not self.decider.is_listening:
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        await self.office.close()
        await self.decider.stop()
        await self.http.aclose()

    async def answer(self, request: AuthorizationRequested) -> tuple[str, str, int]:
        found = await self.office.answer(request)
        return found.decision, found.response_code, found.approved_amount_minor

    async def decide(self, request: AuthorizationRequested) -> tuple[str, str, int]:
        """The decider's answer, whose caller has gone."""
        patient = replace(request, deadline_at=datetime.now(UTC) + timedelta(seconds=10))
        found = await self.decider.ask(patient, 10)
        return found.decision, found.response_code, found.approved_amount_minor

    def tell(self) -> None:
        self.office.advisor.start(self.office.stand_in.is_unsettled)


@pytest.fixture
async def crossing(stack: Stack, tmp_path: Path) -> AsyncIterator[Crossing]:
    made = Crossing(stack, tmp_path)
    await made.open()
    yield made
    await made.close()


def as_body(request: AuthorizationRequested) -> dict[str, Any]:
    return {"network_transaction_id": request.idempotency_key}


async def test_a_late_approval_of_what_was_declined_is_released(
    crossing: Crossing, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    request = asked(card_id=card.card_id, amount_minor=6000)
    assert await crossing.answer(request) == ("DECLINED", "91", 0)
    assert await crossing.decide(request) == ("APPROVED", "00", 6000)
    assert held(dsn, card) == (6000, 1, 6000)
    crossing.tell()
    await settled(dsn, copies, card, as_body(request))
    assert held(dsn, card) == (0, 0, 0)
    assert await crossing.decide(replace(request, request_id="again")) == ("DECLINED", "91", 0)


async def test_a_late_decline_of_what_was_approved_is_held_and_flagged(
    crossing: Crossing, dsn: str, copies: redis.Redis
) -> None:
    card = known_card(dsn, copies, daily_count_limit=0)
    request = asked(card_id=card.card_id, amount_minor=1000)
    assert await crossing.answer(request) == ("APPROVED", "00", 1000)
    assert (await crossing.decide(request))[:2] == ("DECLINED", "65")
    assert held(dsn, card) == (0, 0, 0)
    crossing.tell()
    await settled(dsn, copies, card, as_body(request))
    assert held(dsn, card) == (1000, 1, 1000)
    assert query(dsn, FLAGGED, card.account_id) == [(1,)]
    again = await crossing.decide(replace(request, request_id="again"))
    assert again == ("APPROVED", "00", 1000)


async def test_a_late_approval_of_what_was_approved_is_held_once(
    crossing: Crossing, card: UsableCard, dsn: str, copies: redis.Redis
) -> None:
    request = asked(card_id=card.card_id, amount_minor=1000)
    assert await crossing.answer(request) == ("APPROVED", "00", 1000)
    assert await crossing.decide(request) == ("APPROVED", "00", 1000)
    crossing.tell()
    await settled(dsn, copies, card, as_body(request))
    assert held(dsn, card) == (1000, 1, 1000)


@pytest.mark.parametrize("amount_minor", [1000, 6000])
async def test_a_request_that_comes_after_its_advice_is_told_what_the_caller_was(
    crossing: Crossing, card: UsableCard, dsn: str, copies: redis.Redis, amount_minor: int
) -> None:
    request = asked(card_id=card.card_id, amount_minor=amount_minor)
    first = await crossing.answer(request)
    crossing.tell()
    await settled(dsn, copies, card, as_body(request))
    assert await crossing.decide(request) == first
    assert held(dsn, card)[0] == first[2]


async def test_an_emptied_redis_gives_no_allowance_until_its_copies_are_complete_again(
    crossing: Crossing, card: UsableCard, copies: redis.Redis
) -> None:
    before = int(copies.hget(keys.epoch(), "epoch") or 0)
    copies.flushall()
    assert await crossing.answer(asked(card_id=card.card_id)) == ("DECLINED", "91", 0)
    await soon(lambda: int(copies.hget(keys.epoch(), "epoch") or 0) > before)
    assert await crossing.answer(asked(card_id=card.card_id)) == ("APPROVED", "00", 1000)
    crossing.tell()


async def test_the_life_of_a_card_goes_over_http(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    """Approved, raised, cleared in part, refunded, charged back and won, each once for its key."""
    body = card.body(1000)
    key = body["network_transaction_id"]
    assert gist(await ask(gateway, body)) == ("APPROVED", "00", 1000)
    raised = card.body(1500, message_kind="INCREMENT", original_key=key, amount_is_total=True)
    assert (await ask(gateway, raised))["response_code"] == "00"
    assert held(dsn, card)[0] == 1500

    async def say(kind: str, **fields: Any) -> httpx.Response:
        message = {"message_kind": kind, "message_key": f"{kind}-{key}", **fields}
        return await gateway.post(MESSAGES, json=message)

    cleared = await say("CLEARING", original_key=key, amount_minor=1200, currency="CZK")
    assert (cleared.status_code, cleared.json()["outcome"]) == (200, "CLEARED")
    again = await say("CLEARING", original_key=key, amount_minor=1200, currency="CZK")
    assert again.json() == cleared.json() | {"replayed": True}
    other = await say("CLEARING", original_key=key, amount_minor=1201, currency="CZK")
    assert (other.status_code, other.json()["type"]) == (409, "urn:millrace:problem:key-reused")
    late = await say("REVERSAL", original_key=key)
    assert (late.status_code, late.json()["type"]) == (
        409,
        "urn:millrace:problem:already-captured",
    )
    wrong = await say("REFUND", original_key=key, amount_minor=1, currency="EUR")
    assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:millrace:problem:wrong-currency")
    early = await say("REVERSAL", message_key=f"early-{key}", original_key=f"never-{key}")
    assert (early.status_code, early.json()["state"]) == (202, "PARKED")
    disputed = await say(
        "CHARGEBACK", original_key=key, amount_minor=1200, currency="CZK", reason="FRAUD"
    )
    assert (disputed.status_code, disputed.json()["state"]) == (200, "APPLIED")
    won = await say("DISPUTE_WON", original_key=key)
    assert (won.status_code, won.json()["outcome"]) == (200, "WON")
    posted = await say("FORCE_POST", card_id=card.card_id, amount_minor=5, currency="CZK")
    assert posted.json()["outcome"] == "FORCE_POSTED"
    assert held(dsn, card) == (0, 0, 0)
    assert invariants.books(dsn) == []


async def test_a_terminal_that_takes_less_gets_what_there_is(
    gateway: httpx.AsyncClient, dsn: str
) -> None:
    card = new_card(dsn, credit_limit_minor=700)
    assert gist(await ask(gateway, card.body(1000, partial_allowed=True))) == (
        "APPROVED",
        "10",
        700,
    )


async def test_a_verification_takes_nothing(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    answer = await ask(gateway, card.body(0))
    assert (answer["message_kind"], answer["decision"]) == ("VERIFICATION", "APPROVED")
    assert held(dsn, card) == (0, 0, 0)
