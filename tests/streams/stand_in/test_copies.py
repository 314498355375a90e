"""Stand-in copies in a real Redis: what is later wins, and an epoch is complete or nothing."""

import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from schemas import keys
from streams import store
from streams.changes import position
from streams.stand_in import policy
from streams.stand_in.copies import Copies, Superseded
from streams.stand_in.policy import ACCOUNT, CARD, ROW, Part

KEY = keys.stand_in_copy(CARD, "c-1")
FIRST, SECOND = policy.epoch_text(1), policy.epoch_text(2)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = store.connect(redis_url, 2000)
    await made.flushall()
    yield made
    await made.aclose()


@pytest.fixture
def copies(client: Redis) -> Copies:
    return Copies(client)


def card(is_usable: str) -> Part:
    return Part(KEY, ROW, {"is_usable": is_usable})


async def test_before_any_epoch_nothing_is_written(client: Redis, copies: Copies) -> None:
    assert await copies.follow([(card("1"), position(5, True, 5))]) == 0
    assert await client.exists(KEY) == 0
    assert not await copies.is_complete()


async def test_a_rebuild_makes_copies_complete_for_this_run_only(
    client: Redis, copies: Copies
) -> None:
    run_id = await copies.begin(FIRST)
    assert await copies.rebuild([card("1")], FIRST) == 1
    assert not await copies.is_complete()
    await copies.complete(FIRST, run_id)
    assert await copies.is_complete()
    await client.hset(keys.epoch(), "run_id", "f" * 40)
    assert not await copies.is_complete()


async def test_what_the_log_said_since_the_epoch_began_is_not_overwritten_by_the_rebuild(
    client: Redis, copies: Copies
) -> None:
    await copies.begin(FIRST)
    await copies.follow([(card("0"), position(5, True, 5))])
    assert await copies.rebuild([card("1")], FIRST) == 0
    assert await client.hget(KEY, "is_usable") == "0"


async def test_what_was_written_before_an_epoch_began_is_overwritten_by_its_rebuild(
    client: Redis, copies: Copies
) -> None:
    await copies.begin(FIRST)
    await copies.follow([(card("1"), position(99, True, 99))])
    await copies.begin(SECOND)
    assert await copies.rebuild([card("0")], SECOND) == 1
    assert await client.hget(KEY, "is_usable") == "0"


async def test_an_older_change_and_a_repeated_one_change_nothing(copies: Copies) -> None:
    await copies.begin(FIRST)
    later, earlier = position(7, True, 7), position(6, True, 9)
    assert await copies.follow([(card("1"), later)]) == 1
    assert await copies.follow([(card("0"), earlier), (card("0"), later)]) == 0


async def test_a_row_that_is_gone_leaves_only_where_it_went(client: Redis, copies: Copies) -> None:
    await copies.begin(FIRST)
    await copies.follow([(card("1"), position(1, True, 1))])
    await copies.follow([(replace(card("1"), fields={}), position(2, True, 2))])
    assert list(await client.hgetall(KEY)) == [ROW]


async def test_a_rebuild_that_a_later_one_overtakes_stops_and_completes_nothing(
    client: Redis, copies: Copies
) -> None:
    run_id = await copies.begin(FIRST)
    await copies.begin(SECOND)
    with pytest.raises(Superseded):
        await copies.rebuild([card("1")], FIRST)
    with pytest.raises(Superseded):
        await copies.complete(FIRST, run_id)
    with pytest.raises(Superseded):
        await copies.begin(FIRST)
    await client.flushall()
    with pytest.raises(Superseded):
        await copies.rebuild([card("1")], SECOND)


async def test_one_worker_builds_at_a_time(copies: Copies) -> None:
    assert await copies.is_builder("one")
    assert not await copies.is_builder("two")
    assert await copies.is_builder("one")


async def test_an_open_stand_in_is_released_once_from_its_card_and_its_account(
    client: Redis, copies: Copies
) -> None:
    await client.hset(keys.stand_ins(CARD, "c-1"), "K-1", "500:a-1")
    await client.hset(keys.stand_ins(ACCOUNT, "a-1"), mapping={"K-1": "500", "K-2": "1"})
    assert await copies.release([("c-1", "K-1"), ("c-1", "K-1"), ("c-9", "K-9")]) == 1
    assert await client.hgetall(keys.stand_ins(ACCOUNT, "a-1")) == {"K-2": "1"}
    assert await client.exists(keys.stand_ins(CARD, "c-1")) == 0


class Life:
    """What may happen to the copy of one card, whose row counts its own changes."""

    STEPS = ("change", "hear", "hear_again", "flush", "begin", "read", "write", "complete")

    def __init__(self, client: Redis, copies: Copies) -> None:
        self.client, self.copies = client, copies
        self.epochs = itertools.count(1)
        self.truth = self.heard = 0
        self.building: tuple[str, str] | None = None
        self.page: int | None = None
        self.has_written = False

    async def change(self) -> None:
        self.truth += 1

    async def hear(self) -> None:
        if self.heard < self.truth:
            self.heard += 1
            await self.hear_again()

    async def hear_again(self) -> None:
        if self.heard:
            place = position(self.heard, True, self.heard)
            await self.copies.follow([(card(str(self.heard)), place)])

    async def flush(self) -> None:
        await self.client.flushall()

    async def begin(self) -> None:
        epoch = policy.epoch_text(next(self.epochs))
        self.building, self.page, self.has_written = None, None, False
        self.building = epoch, await self.copies.begin(epoch)

    async def read(self) -> None:
        if self.building:
            self.page = self.truth

    async def write(self) -> None:
        if self.building and self.page is not None:
            await self.copies.rebuild([card(str(self.page))], self.building[0])
            self.has_written = True

    async def complete(self) -> None:
        if self.building and self.has_written:
            await self.copies.complete(*self.building)


REBUILD = ["begin", "read", "write", "complete"]


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before=st.lists(st.sampled_from(Life.STEPS), max_size=12),
    between=st.lists(st.lists(st.sampled_from(Life.STEPS[:3]), max_size=3), min_size=4, max_size=4),
    after=st.lists(st.sampled_from(Life.STEPS[:3]), max_size=5),
)
async def test_when_copies_are_complete_and_the_log_is_read_they_say_what_the_row_says(
    client: Redis,
    copies: Copies,
    before: list[str],
    between: list[list[str]],
    after: list[str],
) -> None:
    """In any order of changes, deliveries, losses and rebuilds, ending with a rebuild."""
    await client.flushall()
    life = Life(client, copies)
    rebuild = [
        step for one, others in zip(REBUILD, between, strict=True) for step in (one, *others)
    ]
    for step in [*before, *rebuild, *after]:
        with suppress(Superseded):
            await getattr(life, step)()
    assert await copies.is_complete()
    while life.heard < life.truth:
        await life.hear()
    assert await client.hget(KEY, "is_usable") == str(life.truth)
