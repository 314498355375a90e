"""kill -9 of the Faust worker in the middle of traffic: every accepted request is decided once."""

import asyncio

import httpx
import pytest

from millrace.stack import Stack
from tests.cards import UsableCard, eventually, new_card, query

pytestmark = pytest.mark.stack
PATH = "/v1/authorizations"
REQUESTS, KILLS = 300, 3
STORED = """
select count(*), count(*) filter (where decision = 'APPROVED'), count(distinct idempotency_key)
from card.authorizations where card_id = any(%s::uuid[])
"""
HOLDS = """
select count(h.*), coalesce(sum(h.amount_minor), 0)
from card.holds h join card.authorizations a using (authorization_id)
where a.card_id = any(%s::uuid[])
"""
TOTALS = "select sum(held_minor) from card.card_accounts where account_id = any(%s::uuid[])"


async def test_every_accepted_request_has_exactly_one_decision(stack: Stack) -> None:
    dsn = stack.env["MILLRACE_OLTP_DSN"]
    cards = [new_card(dsn) for _ in range(10)]
    bodies = [cards[n % 10].body(100 + n) for n in range(REQUESTS)]
    async with httpx.AsyncClient(base_url=stack.env["MILLRACE_GATEWAY"], timeout=90) as gateway:
        traffic = asyncio.create_task(send(gateway, bodies))
        for _ in range(KILLS):
            await asyncio.sleep(2)
            killed = await asyncio.to_thread(stack.kill, "worker")
            await asyncio.to_thread(other_process, stack, killed)
        accepted = await traffic
        assert len(accepted) == REQUESTS
        final = await asyncio.gather(*(decided(gateway, body) for body in bodies))
    for body, first, last in zip(bodies, accepted, final, strict=True):
        assert last["replayed"], body
        if not first["stand_in"]:
            assert first["authorization_id"] == last["authorization_id"]
            assert first["decision"] == last["decision"]
    check_books(dsn, cards, bodies, final)


def check_books(
    dsn: str,
    cards: list[UsableCard],
    bodies: list[dict[str, object]],
    final: list[dict[str, object]],
) -> None:
    approved = [b for b, f in zip(bodies, final, strict=True) if f["decision"] == "APPROVED"]
    total = sum(int(str(body["amount_minor"])) for body in approved)
    card_ids = [card.card_id for card in cards]
    assert query(dsn, STORED, card_ids) == [(REQUESTS, len(approved), REQUESTS)]
    assert query(dsn, HOLDS, card_ids) == [(len(approved), total)]
    assert query(dsn, TOTALS, [card.account_id for card in cards]) == [(total,)]
    assert approved


async def send(
    gateway: httpx.AsyncClient, bodies: list[dict[str, object]]
) -> list[dict[str, object]]:
    """About fifty a second, each waiting for its own answer."""

    async def one(number: int, body: dict[str, object]) -> dict[str, object]:
        await asyncio.sleep(number / 50)
        answer = await gateway.post(PATH, json=body | {"deadline_ms": 30_000})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return await asyncio.gather(*(one(number, body) for number, body in enumerate(bodies)))


async def decided(gateway: httpx.AsyncClient, body: dict[str, object]) -> dict[str, object]:
    """Ask again under the same key until the answer is a decision."""
    for _ in range(30):
        answer = (await gateway.post(PATH, json=body)).json()
        if not answer["stand_in"]:
            return answer
    raise AssertionError("no decision came")


def other_process(stack: Stack, killed: int) -> None:
    """Wait until the supervisor has started the worker again."""
    eventually(lambda: stack.pid("worker") not in (None, killed))
