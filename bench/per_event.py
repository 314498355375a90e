"""The other rival: a Faust agent as a tutorial writes it, one event at a time."""

from __future__ import annotations

import os
import sys

import faust
import orjson
import psycopg
from psycopg.rows import dict_row
from redis.asyncio import Redis

from bench import deciding
from schemas import keys

REQUESTED, DECIDED = deciding.topics_here()
app = faust.App(
    "bench.per-event",
    broker=f"kafka://{os.environ['MILLRACE_KAFKA']}",
    value_serializer="raw",
    key_serializer="raw",
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
    datadir=f"{os.environ['MILLRACE_HOME']}/bench-faust",
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=10,
    broker_heartbeat_interval=2,
)
requests = app.topic(REQUESTED, value_serializer="raw", key_serializer="raw")
decisions = app.topic(DECIDED, value_serializer="raw", key_serializer="raw")


@app.agent(requests)
async def authorize(stream: faust.StreamT[bytes]) -> None:
    """Decide each event with a round trip for each effect."""
    client = Redis.from_url(os.environ["MILLRACE_REDIS"])
    dsn = os.environ["MILLRACE_OLTP_DSN"]
    with psycopg.connect(dsn) as plain:
        cards, versions = deciding.cards(plain), deciding.versions(plain)
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row)
    async for value in stream:
        request = deciding.decode(value)
        card_id = request["card_id"]
        for key in deciding.copies(card_id, *cards[card_id]):
            await client.hgetall(key)
        await client.get(keys.card_history(card_id))
        versions[card_id] = versions.get(card_id, 0) + 1
        row = deciding.row(request, cards[card_id][0], versions[card_id])
        found = await connection.execute(deciding.DECIDE, (deciding.dumps([row]),))
        answer = await found.fetchone()
        await client.set(f"bench:{card_id}", orjson.dumps([versions[card_id]]))
        await decisions.send(key=card_id.encode(), value=deciding.answer(request, answer or {}))


if __name__ == "__main__":
    sys.argv = ["faust", "-A", "bench.per_event", "worker", "-l", "warn", "--without-web"]
    app.main()
