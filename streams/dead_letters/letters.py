"""Sends a message that cannot be read to its topic's dead letters: its bytes, why, where it was.

Delivery is awaited: when `send` returns, the broker has the letter, and only then may the
original's offset be committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata

from aiokafka import AIOKafkaProducer, ConsumerRecord

from schemas.topics import dead_letter

# Headers of a letter. The original's own headers follow under their own names.
TOPIC, PARTITION, OFFSET = "dlq.topic", "dlq.partition", "dlq.offset"
ERROR_CLASS, ERROR, SCHEMA_ID = "dlq.error_class", "dlq.error", "dlq.schema_id"
FIRST_SEEN, CODE_VERSION = "dlq.first_seen", "dlq.code_version"
DESCRIBING = (TOPIC, PARTITION, OFFSET, ERROR_CLASS, ERROR, FIRST_SEEN, CODE_VERSION, SCHEMA_ID)
# A message that was sent again says which letter it was.
REDRIVEN = "dlq.redriven"
# A header is for reading; a whole traceback in it would make the letter larger than the message.
ERROR_TEXT_MAX = 1000


class DeadLetters:
    """The way out for what cannot be handled."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(self, record: ConsumerRecord, error: Exception) -> None:
        """File `record`. Repeating is safe: the reader keys letters by the original's place."""
        headers = [(name, text.encode()) for name, text in describe(record, error).items()]
        await self._producer.send_and_wait(
            dead_letter(record.topic),
            key=record.key,
            value=record.value,
            headers=[*headers, *record.headers],
        )


def describe(record: ConsumerRecord, error: Exception) -> Mapping[str, str]:
    """The letter's headers."""
    schema_id = getattr(error, "schema_id", None)
    return {
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(record.offset),
        ERROR_CLASS: getattr(error, "reason", type(error).__name__),
        ERROR: str(error)[:ERROR_TEXT_MAX],
        FIRST_SEEN: datetime.now(UTC).isoformat(),
        CODE_VERSION: _code_version(),
        **({SCHEMA_ID: str(schema_id)} if schema_id is not None else {}),
    }


def _code_version() -> str:
    try:
        return metadata.version("millrace")
    except metadata.PackageNotFoundError:
        return "0.1.0"
