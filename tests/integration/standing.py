"""What tests of stand-in share: gateways of their own over the stack, and what must be true."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis
from fastapi import FastAPI

from millrace.stack import Stack
from schemas import keys
from serving.app import create_app
from serving.settings import Settings
from streams.stand_in.policy import ACCOUNT, CARD
from tests.cards import UsableCard, eventually, new_card, query
from tests.faults import invariants

PATH = "/v1/authorizations"
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


def another(stack: Stack, name: str) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """A gateway with an empty journal."""
    folder = stack.layout.home / f"gateway-{name}-{time.time_ns()}"

    @asynccontextmanager
    async def made() -> AsyncIterator[httpx.AsyncClient]:
        async with opened(application(stack, folder)) as client:
            await listening(client)
            yield client

    return made()


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
