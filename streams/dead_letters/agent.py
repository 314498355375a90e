"""Files dead letters: every message of the .dlq topics becomes one row of ops.dead_letters.

Filing again changes nothing but when it was last seen, so a repeated delivery is safe. A message
that was sent again and failed again is a letter anew, and the one that it was says so. The body
never raises: while Postgres is down it waits, and what Postgres cannot take is logged with its
place and stays in its topic.
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

# The letter that it was must be the same message: a header alone proves nothing.
FILE = """
with before as (
    select dead_letter_id, attempts, first_seen_at from ops.dead_letters
    where dead_letter_id = %(redrive_of)s and topic = %(topic)s
        and message_key is not distinct from %(message_key)s
        and message_value is not distinct from %(message_value)s
), failed as (
    update ops.dead_letters set status = 'FAILED_AGAIN'
    where dead_letter_id = (select dead_letter_id from before)
        and status in ('RELEASING', 'RELEASED', 'HANDLED')
)
insert into ops.dead_letters as filed (
    topic, partition, "offset", message_key, message_value, error_class, error, schema_id,
    code_version, header_names, header_values, first_seen_at, last_seen_at, attempts, redrive_of)
select
    %(topic)s, %(partition)s, %(offset)s, %(message_key)s, %(message_value)s, %(error_class)s,
    %(error)s, %(schema_id)s, %(code_version)s, %(header_names)s::text[],
    %(header_values)s::bytea[],
    least(%(seen_at)s, (select first_seen_at from before)), %(seen_at)s,
    coalesce((select attempts + 1 from before), 1), (select dead_letter_id from before)
on conflict (topic, partition, "offset") do update
    set last_seen_at = greatest(filed.last_seen_at, excluded.last_seen_at)
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
    described, original = _told_apart(_headers(message))
    try:
        place = {
            "topic": described[letters.TOPIC],
            "partition": int(described[letters.PARTITION]),
            "offset": int(described[letters.OFFSET]),
        }
    except (KeyError, ValueError):
        place = {
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
        }
    redriven = [value for name, value in original if name == letters.REDRIVEN]
    return {
        **place,
        "message_key": message.key,
        "message_value": message.value,
        "error_class": _text(described.get(letters.ERROR_CLASS, "unknown")),
        "error": _text(described.get(letters.ERROR, "no reason was given")),
        "schema_id": _number(described.get(letters.SCHEMA_ID)),
        "code_version": _text(described.get(letters.CODE_VERSION, "unknown")),
        "header_names": [_text(name) for name, _ in original],
        "header_values": [value for _, value in original],
        "seen_at": _time(described.get(letters.FIRST_SEEN)),
        "redrive_of": _number((redriven[-1] or b"").decode(errors="replace") if redriven else None),
    }


def _told_apart(
    headers: list[tuple[str, bytes | None]],
) -> tuple[dict[str, str], list[tuple[str, bytes | None]]]:
    """What the letter says of the message, and the headers that the message had itself.

    The description comes first, each name once: a header of the message may be called the same.
    """
    described: dict[str, str] = {}
    for number, (name, value) in enumerate(headers):
        if name not in letters.DESCRIBING or name in described:
            return described, headers[number:]
        described[name] = bytes(value or b"").decode(errors="replace")
    return described, []


def _headers(message: Any) -> list[tuple[str, bytes | None]]:
    headers = message.headers or []
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 19 else None


def _text(value: str) -> str:
    return value.replace("\0", "\\0")


def _time(text: str | None) -> datetime:
    try:
        return datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.now(UTC)
