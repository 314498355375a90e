"""Copies that an earlier run of Redis left are read by nobody: what they missed, nobody repeats."""

import redis as sync_redis

from schemas import keys
from streams import store
from streams.changes import position
from streams.store import Store, Write
from tests.streams.server import Server

CARD = keys.card_snapshot("c-1")
RECORDS = keys.kyc_snapshot("u-1")


async def test_a_copy_from_before_a_restart_is_forgotten(server: Server) -> None:
    client = store.connect(server.url, 2000)
    held = keys.stand_ins("card", "c-1")
    await Store(client).apply(
        [Write(key, "_position", position(1, True, 1), {"status": "ACTIVE"}, (), 600)
         for key in (CARD, RECORDS)]
    )  # fmt: skip
    await client.hset(held, "T-1", "100:a-1")
    server.kill()
    server.start()
    assert sync_redis.Redis.from_url(server.url).exists(CARD, RECORDS) == 2  # as it was on disk
    assert await Store(client).read([CARD, RECORDS], []) == ([{}, {}], [])
    assert await client.exists(held)  # what stand-in has taken stays taken
    await client.aclose()


async def test_copies_of_this_run_stay_whoever_connects(server: Server) -> None:
    first, second = store.connect(server.url, 2000), store.connect(server.url, 2000)
    await Store(first).apply([Write(CARD, "_position", "1", {"status": "ACTIVE"}, (), 600)])
    (found,), _ = await Store(second).read([CARD], [])
    assert found["status"] == "ACTIVE"
    await first.aclose()
    await second.aclose()
