"""The keeper of the epoch, with a real Postgres and a Redis that is emptied and restarted."""

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from redis.asyncio import Redis

from millrace.stack import Stack
from schemas import keys
from streams import ledger, store
from streams.stand_in.copies import Copies
from streams.stand_in.epoch import EpochKeeper
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM
from streams.stand_in.records import Records
from tests.cards import new_card
from tests.streams.server import Server


@pytest.fixture
def dsn(postgres_only: Stack) -> str:
    return postgres_only.env["MILLRACE_OLTP_DSN"]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    made = store.connect(server.url, 2000)
    yield made
    await made.aclose()


@pytest.fixture
async def keepers(client: Redis, dsn: str) -> AsyncIterator[Callable[[], EpochKeeper]]:
    pool = ledger.pool(dsn)
    await pool.open()
    yield lambda: EpochKeeper(Copies(client), Records(pool))
    await pool.close()


async def test_an_empty_redis_is_filled_with_what_stand_in_must_know(
    client: Redis, keepers: Callable[[], EpochKeeper], dsn: str
) -> None:
    card = new_card(dsn, credit_limit_minor=7000)
    await keepers().look()
    assert await Copies(client).is_complete()
    found = await client.hgetall(keys.stand_in_copy(CARD, card.card_id))
    assert (found["is_usable"], found["account_id"]) == ("1", card.account_id)
    account = await client.hgetall(keys.stand_in_copy(ACCOUNT, card.account_id))
    assert (account["available_minor"], account["program_id"]) == ("7000", "standard")
    customer = await client.hgetall(keys.stand_in_copy(CUSTOMER, card.customer_id))
    assert (customer["is_usable"], customer["is_sanctioned"]) == ("1", "0")
    program = await client.hgetall(keys.stand_in_copy(PROGRAM, "standard"))
    assert (program["amount_minor"], program["count"]) == ("5000", "3")


CHECK = """
insert into kyc.aml_checks (aml_check_id, customer_id, check_type, status, provider, list_name,
    list_version, list_sha256, checked_at)
values (gen_random_uuid(), %s, 'SANCTIONS', %s, 'test', 'L', '1', repeat('a', 64), %s)
"""


async def test_the_latest_answer_of_a_screening_counts(
    client: Redis, keepers: Callable[[], EpochKeeper], dsn: str
) -> None:
    matched, cleared = new_card(dsn), new_card(dsn)
    with psycopg.connect(dsn) as connection:
        for card, status, checked_at in (
            (matched, "CLEAR", "2026-01-01Z"),
            (matched, "CONFIRMED_MATCH", "2026-01-02Z"),
            (matched, "POTENTIAL_MATCH", "2026-01-03Z"),
            (cleared, "CONFIRMED_MATCH", "2026-01-01Z"),
            (cleared, "CLEAR", "2026-01-02Z"),
        ):
            connection.execute(CHECK, (card.customer_id, status, checked_at))
    await keepers().look()
    for card, is_sanctioned in ((matched, "1"), (cleared, "0")):
        customer = await client.hgetall(keys.stand_in_copy(CUSTOMER, card.customer_id))
        assert customer["is_sanctioned"] == is_sanctioned


async def test_complete_copies_are_left_alone(
    client: Redis, keepers: Callable[[], EpochKeeper]
) -> None:
    await keepers().look()
    before = await client.hgetall(keys.epoch())
    await keepers().look()
    assert await client.hgetall(keys.epoch()) == before


@pytest.mark.parametrize("loss", ["restart", "flush", "restart empty"])
async def test_after_a_loss_copies_are_rebuilt_under_a_new_epoch(
    client: Redis, keepers: Callable[[], EpochKeeper], server: Server, dsn: str, loss: str
) -> None:
    card = new_card(dsn)
    keeper = keepers()
    await keeper.look()
    before = await client.hgetall(keys.epoch())
    if loss == "flush":
        await client.flushall()
    else:
        server.kill()
        if loss == "restart empty":
            for file in server.folder.rglob("*.*"):
                file.unlink(missing_ok=True)
        # What happens to the card while Redis is away never reaches it.
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "update card.cards set status = 'LOST' where card_id = %s", (card.card_id,)
            )
        server.start()
    assert not await Copies(client).is_complete()
    await keeper.look()
    after = await client.hgetall(keys.epoch())
    assert after["epoch"] > before["epoch"]
    usable = "1" if loss == "flush" else "0"
    copy = await client.hgetall(keys.stand_in_copy(CARD, card.card_id))
    assert (copy["is_usable"], copy["_position"]) == (usable, f"{after['epoch']}.")


async def test_of_several_workers_one_rebuilds(
    client: Redis, keepers: Callable[[], EpochKeeper]
) -> None:
    first, second = keepers(), keepers()
    await asyncio.gather(first.look(), second.look())
    assert await Copies(client).is_complete()
    assert (await client.hgetall(keys.epoch()))["epoch"] == (
        await client.hget(keys.epoch(), "building")
    )
