"""Files dead letters: every message of the .dlq topics becomes one row of ops.dead_letters.

Filing again changes nothing, so a repeated delivery is safe. The body never raises: while Postgres
is down it waits, and what Postgres cannot take is logged with its place and stays in its topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from faust import App, StreamT
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from schemas import topics
from streams import metrics
from streams.dead_letters import letters
from streams.outages import OUTAGES, Backoff

log = logging.getLogger(__name__)
NAME = "dead_letters"
TOPICS = topics.dead_letters()

FILE = """
insert into ops.dead_letters (
    topic, partition, "offset", message_key, message_value, error_class, error, schema_id,
    code_version, first_seen_at)
values (
    %(topic)s, %(partition)s, %(offset)s, %(message_key)s, %(message_value)s, %(error_class)s,
    %(error)s, %(schema_id)s, %(code_version)s, %(first_seen_at)s)
on conflict (topic, partition, "offset") do nothing
"""

Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]


def register(app: App, pool: Pool) -> None:
    """Make the agent part of the app."""
    channel = app.topic(*TOPICS, key_serializer="raw", value_serializer="raw")

    async def file_dead_letters(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            await file(pool, event.message)

    app.agent(channel, name=NAME)(file_dead_letters)


async def file(pool: Pool, message: Any) -> None:
    """Write one letter, waiting for Postgres as long as it takes."""
    letter = read(message)
    backoff = Backoff()
    while True:
        try:
            async with pool.connection() as connection:
                await connection.execute(FILE, letter)
        except (psycopg.DataError, psycopg.IntegrityError):
            log.exception("dead letter %s cannot be filed; it stays in its topic", message.tp)
        except OUTAGES as error:
            log.warning("dead letters wait for Postgres: %s", error)
            await asyncio.sleep(backoff.next_s())
            continue
        metrics.MESSAGES.labels(NAME, "handled").inc()
        return


def read(message: Any) -> dict[str, Any]:
    """The row of a letter; one that is not ours is filed under its own place."""
    headers = {name: bytes(text).decode(errors="replace") for name, text in _headers(message)}
    try:
        place = {
            "topic": headers[letters.TOPIC],
            "partition": int(headers[letters.PARTITION]),
            "offset": int(headers[letters.OFFSET]),
        }
    except (KeyError, ValueError):
        place = {
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
        }
    schema_id = headers.get(letters.SCHEMA_ID, "")
    return {
        **place,
        "message_key": message.key,
        "message_value": message.value,
        "error_class": _text(headers.get(letters.ERROR_CLASS, "unknown")),
        "error": _text(headers.get(letters.ERROR, "no reason was given")),
        "schema_id": int(schema_id) if schema_id.isdecimal() else None,
        "code_version": _text(headers.get(letters.CODE_VERSION, "unknown")),
        "first_seen_at": _time(headers.get(letters.FIRST_SEEN)),
    }


def _headers(message: Any) -> list[tuple[str, bytes]]:
    headers = message.headers or []
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def _text(value: str) -> str:
    return value.replace("\0", "\\0")


def _time(text: str | None) -> datetime:
    try:
        return datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.now(UTC)
