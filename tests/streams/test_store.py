"""The guards on a real Redis: order and repetition of arrival never change the end state."""

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from streams import store
from streams.changes import position
from streams.store import NO_POSITION, Attempts, Store, Write

DAY_MS = 86_400_000


async def end_state(redis_url: str, writes: list[Write]) -> dict[str, str]:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    for write in writes:
        await Store(client).apply([write])
    found = await client.hgetall("h")
    await client.aclose()
    return found


def write(at: int, fields: dict[str, str] | None) -> Write:
    """A write at a position; without fields a delete."""
    dropped = ("a", "b") if fields is None else tuple({"a", "b"} - set(fields))
    return Write("h", "_position", position(at, True, at), fields or {}, dropped, 60)


HISTORY = st.lists(
    st.none() | st.fixed_dictionaries({"a": st.text("xyz")}, optional={"b": st.text("uv")}),
    min_size=1,
    max_size=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(history=HISTORY, random=st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_of_changes_ends_in_the_last_one(
    redis_url: str, history: list[dict[str, str] | None], random: Random
) -> None:
    in_order = [write(number, fields) for number, fields in enumerate(history, 1)]
    arrived = [*in_order, *random.choices(in_order, k=3)]
    random.shuffle(arrived)
    found = asyncio.run(end_state(redis_url, arrived))
    assert found == {"_position": in_order[-1].position, **(history[-1] or {})}


async def test_a_replayed_older_row_does_not_come_back_after_its_delete(redis_url: str) -> None:
    old, gone = write(1, {"a": "x"}), write(2, None)
    assert await end_state(redis_url, [old, gone, old]) == {"_position": gone.position}


async def test_a_copy_from_the_database_never_replaces_one_from_the_log(redis_url: str) -> None:
    copied = Write("h", "_position", NO_POSITION, {"a": "copied"}, (), 60)
    assert (await end_state(redis_url, [copied]))["a"] == "copied"
    assert (await end_state(redis_url, [copied, write(1, {"a": "log"})]))["a"] == "log"
    assert (await end_state(redis_url, [write(1, {"a": "log"}), copied]))["a"] == "log"


def attempts(members: dict[str, int], complete: bool = False) -> Attempts:
    return Attempts("s", "m", position(1, True, 1), members, 8 * 24 * 3600, complete)


async def test_an_attempt_counts_once_however_often_it_arrives(redis_url: str) -> None:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    verbs = Store(client)
    assert (
        await verbs.add([attempts({"x": 100 * DAY_MS}, True), attempts({"x": 100 * DAY_MS})]) == 1
    )
    assert await verbs.counts([("s", "m")], [60_000], 100 * DAY_MS) == [(1,)]
    await client.aclose()


async def test_windows_are_left_open_and_right_closed_and_old_attempts_are_trimmed(
    redis_url: str,
) -> None:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    verbs, now = Store(client), 100 * DAY_MS
    edges = {"out": now - 60_000, "in": now - 59_999, "now": now, "later": now + 1}
    await verbs.add([attempts({**edges, "ancient": now - 9 * DAY_MS}, True)])
    assert await verbs.counts([("s", "m")], [60_000, 10 * DAY_MS], now) == [(2, 3)]
    await client.aclose()


async def test_a_set_is_complete_only_once_it_is_said_to_be(redis_url: str) -> None:
    client = store.connect(redis_url, 2000)
    await client.flushall()
    verbs = Store(client)
    await verbs.add([attempts({"x": DAY_MS})])
    assert await verbs.complete(["m", "other"]) == [False, False]
    assert await verbs.counts([("s", "m")], [DAY_MS], DAY_MS) == [None]
    await verbs.add([attempts({}, complete=True)])
    assert await verbs.complete(["m", "other"]) == [True, False]
    await client.aclose()
