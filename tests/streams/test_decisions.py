"""Answers leave in one batch for each partition, in order, and none is left out."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from schemas.events import AuthorizationDecided
from streams.decisions import Decisions


@dataclass
class Batch:
    """Takes three messages."""

    values: list[bytes] = field(default_factory=list)

    def append(self, *, key: bytes, value: bytes, timestamp: None) -> object | None:
        if len(self.values) == 3:
            return None
        self.values.append(value)
        return value


@dataclass
class Producer:
    """Keeps what is sent."""

    sent: list[tuple[int, list[bytes]]] = field(default_factory=list)

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.sent.append((partition, batch.values))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged


async def prepare(topic: str, file: Any) -> None:
    """Nothing to learn."""


CODEC = SimpleNamespace(prepare=prepare, encode=lambda topic, record: record["request_id"].encode())


def answer(name: str) -> AuthorizationDecided:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return AuthorizationDecided(
        name, name, name, "card", None, "APPROVED", "00", "APPROVED", 1, "USD", "1", False, False,
        now, now, name,
    )  # fmt: skip


async def test_answers_keep_the_order_of_their_partition_also_when_a_batch_is_full() -> None:
    producer = Producer()
    decided = [(n % 2, answer(f"{n % 2}-{n}")) for n in range(10)]
    await (await Decisions(producer, CODEC).send(decided))  # type: ignore[arg-type]
    for partition in (0, 1):
        sent = [value for number, some in producer.sent if number == partition for value in some]
        assert sent == [f"{partition}-{n}".encode() for n in range(partition, 10, 2)]


async def test_a_request_topic_with_more_partitions_is_answered_all_the_same() -> None:
    producer = Producer()
    await (await Decisions(producer, CODEC).send([(4, answer("x"))]))  # type: ignore[arg-type]
    assert producer.sent == [(1, [b"x"])]
