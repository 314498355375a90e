"""Stand-in and the decider both answer, and neither knows of the other: what is told stays true."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from millrace.stack import Stack
from schemas import keys
from schemas.events import AuthorizationRequested
from serving.decider import Decider
from serving.wire import Wire
from tests.cards import UsableCard, query
from tests.integration.standing import FLAGGED, held, known_card, settled, soon
from tests.serving.conftest import asked
from tests.serving.test_standing_in import Office

pytestmark = pytest.mark.stack


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
