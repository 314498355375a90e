"""What the agent makes of changes: the latest of each row, customers as they stand, what ends."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from millrace.stack import Stack
from schemas import contract, keys, topics
from streams import ledger, store
from streams.changes import Change, position
from streams.stand_in import agent, policy
from streams.stand_in.agent import Means, applied_advice, follow, latest
from streams.stand_in.copies import Copies
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER
from streams.stand_in.records import Records
from tests.cards import new_card

FIRST = policy.epoch_text(1)


class Delivered:
    """A message as the batch path hands it over."""

    def __init__(self, event: Change) -> None:
        self.event = event


def change(
    entity: str, number: int, after: dict[str, Any] | None, before: dict[str, Any] | None = None
) -> Change:
    return Change(
        topic=contract.load(entity).topic,
        before=before,
        after=after,
        position=position(number, True, number),
        lsn=number,
        changed_at_ms=0,
    )


def card_row(status: str) -> dict[str, Any]:
    return {"card_id": "c-1", "account_id": "a-1", "status": status, "expires_on": 40_000}


def test_of_a_batch_each_rows_latest_change_is_written_once() -> None:
    found = latest(
        [
            change("cards", 2, card_row("LOST")),
            change("cards", 1, card_row("ACTIVE")),
            change("kyc_records", 3, {"kyc_record_id": "k"}),
        ]
    )
    assert [(part.fields["is_usable"], place) for part, place in found] == [
        ("0", position(2, True, 2))
    ]


def test_a_row_that_is_gone_is_written_without_fields() -> None:
    (part, _), *_ = latest([change("cards", 1, None, before={"card_id": "c-1"})])
    assert (part.key, dict(part.fields)) == (keys.stand_in_copy(CARD, "c-1"), {})


ADVICE = {"message_kind": "ADVICE", "state": "APPLIED", "card_id": "c-1", "original_key": "K-1"}


@pytest.mark.parametrize(
    ("row", "over"),
    [
        (ADVICE, ("c-1", "K-1")),
        (ADVICE | {"state": "REFUSED"}, ("c-1", "K-1")),
        (ADVICE | {"state": "PARKED"}, None),
        (ADVICE | {"message_kind": "REVERSAL"}, None),
        (ADVICE | {"card_id": None}, None),
    ],
    ids=str,
)
def test_an_advice_that_was_taken_ends_its_stand_in(
    row: dict[str, Any], over: tuple[str, str] | None
) -> None:
    assert applied_advice(change("card_messages", 1, row)) == over


def test_every_topic_that_it_follows_has_dead_letters() -> None:
    assert {topics.dead_letter(name) for name in agent.follow.topics} <= set(topics.dead_letters())


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = store.connect(redis_url, 2000)
    await made.flushall()
    yield made
    await made.aclose()


async def test_changes_become_copies_and_open_stand_ins_end(
    client: Redis, postgres_only: Stack
) -> None:
    dsn = postgres_only.env["MILLRACE_OLTP_DSN"]
    pool = ledger.pool(dsn)
    await pool.open()
    card, copies = new_card(dsn), Copies(client)
    await copies.begin(FIRST)
    await client.hset(keys.stand_ins(CARD, card.card_id), "K-1", f"5:{card.account_id}")
    await client.hset(keys.stand_ins(ACCOUNT, card.account_id), "K-1", "5")
    advice = ADVICE | {"card_id": card.card_id}
    customer = {"customer_id": card.customer_id, "status": "ACTIVE"}
    row = card_row("ACTIVE") | {"card_id": card.card_id, "account_id": card.account_id}
    found = [
        change("cards", 1, row),
        change("customers", 2, customer),
        change("aml_checks", 3, {"aml_check_id": str(uuid.uuid4()), "customer_id": None}),
        change("card_messages", 4, advice),
    ]
    for _ in range(2):  # delivered again, it changes nothing
        await follow.handle([Delivered(one) for one in found], Means(copies, Records(pool)))  # type: ignore[misc]
        copy = await client.hgetall(keys.stand_in_copy(CARD, card.card_id))
        assert (copy["is_usable"], copy["account_id"]) == ("1", card.account_id)
        known = await client.hgetall(keys.stand_in_copy(CUSTOMER, card.customer_id))
        assert (known["is_usable"], known["is_sanctioned"]) == ("1", "0")
        assert await client.exists(keys.stand_ins(CARD, card.card_id)) == 0
    await pool.close()
