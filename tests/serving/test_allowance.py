"""The allowance in a real Redis: small, taken once for a key, and only from copies of this run."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from schemas import keys
from schemas.events import AuthorizationRequested
from serving.allowance import Allowance
from streams import store
from streams.changes import position
from streams.stand_in import policy
from streams.stand_in.copies import Copies
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM
from tests.serving.conftest import asked

ROWS: dict[str, dict[str, Any]] = {
    CARD: {"status": "ACTIVE", "expires_on": 40_000},
    ACCOUNT: {
        "program_id": "standard",
        "currency": "CZK",
        "status": "ACTIVE",
        "credit_limit_minor": 100_000,
        "posted_minor": 0,
        "held_minor": 0,
    },
    CUSTOMER: {"status": "ACTIVE"},
    PROGRAM: {"program_id": "standard", "stand_in_amount_minor": 5000, "stand_in_count": 3},
}


class Bank:
    """Cards whose copies are complete."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.copies = Copies(client)
        self.allowance = Allowance(client)
        self.epochs = 0
        self.heard = 0

    async def rebuild(self, *cards: str, **changes: dict[str, Any]) -> None:
        """Copies of the cards, each with the rows above but for `changes` by entity."""
        self.epochs += 1
        epoch = policy.epoch_text(self.epochs)
        run_id = await self.copies.begin(epoch)
        for card_id in cards:
            ids = {"card_id": card_id, "account_id": f"a-{card_id}", "customer_id": f"u-{card_id}"}
            parts = [
                policy.part(entity, ids | row | changes.get(entity, {}))
                for entity, row in ROWS.items()
            ]
            parts.append(policy.screening(f"u-{card_id}", False))
            await self.copies.rebuild(parts, epoch)
        await self.copies.complete(epoch, run_id)

    async def follow(self, *parts: policy.Part) -> None:
        self.heard += 1
        await self.copies.follow([(part, position(self.heard, True, 1)) for part in parts])

    async def says(self, request: AuthorizationRequested, **options: Any) -> str:
        return (await self.allowance.take(request, **options)).verdict


@pytest.fixture
async def bank(redis_url: str) -> AsyncIterator[Bank]:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    yield Bank(client)
    await client.aclose()


async def test_a_small_purchase_is_approved_and_says_whose_account_it_is(bank: Bank) -> None:
    request = asked()
    await bank.rebuild(request.card_id)
    grant = await bank.allowance.take(request)
    assert (grant.approved, grant.account_id) == (True, f"a-{request.card_id}")


async def test_the_allowance_ends_by_count_and_by_amount(bank: Bank) -> None:
    often, much = str(uuid.uuid4()), str(uuid.uuid4())
    await bank.rebuild(often, much)
    verdicts = [await bank.says(asked(card_id=often, amount_minor=1)) for _ in range(4)]
    assert verdicts == ["APPROVED"] * 3 + ["ALLOWANCE_SPENT"]
    assert await bank.says(asked(card_id=much, amount_minor=5001)) == "ALLOWANCE_SPENT"
    assert await bank.says(asked(card_id=much, amount_minor=3000)) == "APPROVED"
    assert await bank.says(asked(card_id=much, amount_minor=2001)) == "ALLOWANCE_SPENT"
    assert await bank.says(asked(card_id=much, amount_minor=2000)) == "APPROVED"


async def test_no_more_than_is_available_is_approved_on_all_cards_of_an_account(
    bank: Bank,
) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    same = {"account_id": "a-shared", "customer_id": "u-shared"}
    await bank.rebuild(
        first,
        second,
        card=same,
        account=same | {"credit_limit_minor": 3000, "held_minor": 500, "posted_minor": 500},
        customer=same,
    )
    await bank.copies.rebuild([policy.screening("u-shared", False)], policy.epoch_text(1))
    assert await bank.says(asked(card_id=first, amount_minor=1500)) == "APPROVED"
    assert await bank.says(asked(card_id=second, amount_minor=501)) == "ALLOWANCE_SPENT"
    assert await bank.says(asked(card_id=second, amount_minor=500)) == "APPROVED"


async def test_a_key_is_told_the_same_again_and_takes_nothing_again(bank: Bank) -> None:
    request = asked(amount_minor=3000)
    await bank.rebuild(request.card_id)
    assert [await bank.says(request) for _ in range(3)] == ["APPROVED"] * 3
    late = asked(card_id=request.card_id, amount_minor=2500)
    assert await bank.says(late) == "ALLOWANCE_SPENT"
    await bank.copies.release([(request.card_id, request.idempotency_key)])
    assert await bank.says(late) == "ALLOWANCE_SPENT"
    other = replace(request, request_hash="b" * 64)
    assert await bank.says(other) == "KEY_REUSED"


async def test_many_at_once_get_no_more_than_one_after_the_other(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    verdicts = await asyncio.gather(
        *(bank.says(asked(card_id=card, amount_minor=1000)) for _ in range(15))
    )
    assert verdicts.count("APPROVED") == 3


async def test_what_has_been_applied_is_open_no_more(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    first = asked(card_id=card, amount_minor=5000)
    assert await bank.says(first) == "APPROVED"
    assert await bank.says(asked(card_id=card)) == "ALLOWANCE_SPENT"
    await bank.copies.release([(card, first.idempotency_key)])
    assert await bank.says(asked(card_id=card)) == "APPROVED"


async def test_what_only_the_journal_knows_counts_when_redis_has_lost_it(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    assert await bank.says(asked(card_id=card), journaled=(3, 30)) == "ALLOWANCE_SPENT"
    assert await bank.says(asked(card_id=card), journaled=(1, 4500)) == "ALLOWANCE_SPENT"
    assert await bank.says(asked(card_id=card), journaled=(1, 4000)) == "APPROVED"


UNUSABLE: list[dict[str, dict[str, Any]]] = [
    {"card": {"status": "BLOCKED"}},
    {"card": {"expires_on": 20_000}},
    {"account": {"status": "FROZEN"}},
    {"account": {"currency": "EUR"}},
    {"customer": {"status": "CLOSED"}},
]


@pytest.mark.parametrize("changes", UNUSABLE, ids=str)
async def test_what_is_not_usable_gets_nothing(
    bank: Bank, changes: dict[str, dict[str, Any]]
) -> None:
    request = asked()
    await bank.rebuild(request.card_id, **changes)
    assert await bank.says(request) == "NOT_USABLE"


async def test_a_card_that_is_blocked_after_the_rebuild_gets_nothing(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    row = ROWS[CARD] | {"card_id": card, "account_id": f"a-{card}", "status": "STOLEN"}
    await bank.follow(policy.part(CARD, row))
    assert await bank.says(asked(card_id=card)) == "NOT_USABLE"


async def test_a_sanctioned_customer_gets_nothing(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    await bank.follow(policy.screening(f"u-{card}", True))
    assert await bank.says(asked(card_id=card)) == "NOT_USABLE"


async def test_a_program_without_an_allowance_gives_none(bank: Bank) -> None:
    request = asked(amount_minor=1)
    await bank.rebuild(request.card_id, program={"stand_in_amount_minor": 0, "stand_in_count": 0})
    assert await bank.says(request) == "ALLOWANCE_SPENT"


async def test_an_unknown_card_gets_nothing(bank: Bank) -> None:
    await bank.rebuild()
    assert await bank.says(asked()) == "NO_COPY"


async def test_a_deleted_card_gets_nothing(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    await bank.follow(policy.part(CARD, {"card_id": card}, is_there=False))
    assert await bank.says(asked(card_id=card)) == "NO_COPY"


async def test_copies_of_another_run_of_redis_approve_nothing(bank: Bank) -> None:
    """As after a restart, or from an old dump: the run id is another one."""
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    await bank.client.hset(keys.epoch(), "run_id", "f" * 40)
    assert await bank.says(asked(card_id=card)) == "NO_EPOCH"


@pytest.mark.parametrize("entity", [CARD, ACCOUNT, CUSTOMER, PROGRAM])
async def test_a_copy_of_an_earlier_epoch_approves_nothing(bank: Bank, entity: str) -> None:
    """One entity was left behind by the rebuild."""
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    ids = {CARD: card, ACCOUNT: f"a-{card}", CUSTOMER: f"u-{card}", PROGRAM: "standard"}
    key = keys.stand_in_copy(entity, ids[entity])
    old = await bank.client.hgetall(key)
    await bank.rebuild(card)
    await bank.client.hset(key, mapping=old)
    assert await bank.says(asked(card_id=card)) == "NO_COPY"


async def test_an_emptied_redis_approves_nothing(bank: Bank) -> None:
    card = str(uuid.uuid4())
    await bank.rebuild(card)
    await bank.client.flushall()
    assert await bank.says(asked(card_id=card)) == "NO_EPOCH"
