"""Cards and gateways of their own for tests over the session's stack."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import redis

from millrace.stack import Stack
from tests.cards import UsableCard
from tests.integration.standing import application, known_card, listening, opened


@pytest.fixture(autouse=True)
def room_for_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways of these tests leave stand-in three times as long as they would elsewhere."""
    monkeypatch.setattr("serving.answering.MARGIN_S", 0.12)
    monkeypatch.setattr("serving.standing_in.LONGEST_S", 0.15)


@pytest.fixture
def dsn(stack: Stack) -> str:
    return stack.env["MILLRACE_OLTP_DSN"]


@pytest.fixture
def card(dsn: str, copies: redis.Redis) -> UsableCard:
    return known_card(dsn, copies)


@pytest.fixture
def copies(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.env["MILLRACE_REDIS"], decode_responses=True)


@pytest.fixture
async def gateway(stack: Stack, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(application(stack, tmp_path)) as client:
        await listening(client)
        yield client
