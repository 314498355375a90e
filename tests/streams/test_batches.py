"""What a batch agent does with messages it cannot read, cannot handle, or cannot handle now."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from streams.batches import BATCH_MAX, POLL_MS, BatchService, Message, batches
from streams.codec import Codec, Undecodable


class Letters:
    """Keeps what is buried."""

    def __init__(self) -> None:
        self.buried: list[tuple[int, str]] = []

    async def send(self, record: ConsumerRecord, error: Exception) -> None:
        self.buried.append((record.offset, type(error).__name__))


def record(offset: int, value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord("t", 0, offset, 0, 0, b"k", value, None, 1, 1, ())


def found(values: Sequence[bytes | None]) -> dict[TopicPartition, list[ConsumerRecord]]:
    """What Kafka has ready."""
    return {TopicPartition("t", 0): [record(n, value) for n, value in enumerate(values)]}


def decode(codec: Codec, read: ConsumerRecord) -> str | None:
    if read.value == b"garbage":
        raise Undecodable("avro", "garbage")
    return read.value.decode() if read.value is not None else None


Handled = list[list[str]]


def service(letters: Letters, failures: dict[str, list[Exception]]) -> tuple[Any, Handled]:
    handled: Handled = []

    @batches("t", capability="test", decode=decode)
    async def keep(messages: Sequence[Message], means: None) -> None:
        for message in messages:
            if failures.get(message.event):
                raise failures[message.event].pop(0)
        handled.append([message.event for message in messages])

    made = BatchService(keep, None, servers="127.0.0.1:1", codec=None, letters=letters)  # type: ignore[arg-type]
    return made, handled


async def test_a_batch_is_handled_whole_and_what_is_unreadable_or_empty_is_left_out() -> None:
    letters = Letters()
    agent, handled = service(letters, {})
    values = [b"a", b"garbage", None, b"b"]
    await agent._process(None, found(values))
    assert handled == [["a", "b"]]
    assert letters.buried == [(1, "Undecodable")]
    assert agent.progress.untold == {TopicPartition("t", 0): 4}


async def test_a_message_that_breaks_the_handler_is_buried_and_the_others_are_handled() -> None:
    letters = Letters()
    broken = [ValueError("never")] * 9
    agent, handled = service(letters, {"b": broken})
    await agent._process(None, found([b"a", b"b", b"c"]))
    assert handled == [["a"], ["c"]]
    assert letters.buried == [(1, "ValueError")]


@pytest.mark.parametrize(
    "outage", [ConnectionError("down"), TimeoutError(), psycopg.OperationalError("down")], ids=repr
)
async def test_an_outage_is_waited_for_and_nothing_is_buried(outage: Exception) -> None:
    letters = Letters()
    agent, handled = service(letters, {"a": [outage, outage]})
    await agent._process(None, found([b"a"]))
    assert (handled, letters.buried) == ([["a"]], [])
    assert agent.waits_for is None


async def test_a_stop_during_an_outage_commits_nothing_of_the_batch() -> None:
    agent, handled = service(Letters(), {"a": [ConnectionError("down")] * 1000})
    work = asyncio.create_task(agent._process(None, found([b"a"])))
    await asyncio.sleep(0.2)
    agent._stopped.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (handled, agent.progress.untold) == ([], {})


class Broker:
    """Answers readings one after the other."""

    def __init__(self, *answers: dict[TopicPartition, int] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[set[TopicPartition], int]] = []

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(TopicPartition("t", n) for n in range(3))

    async def getmany(self, *parts: TopicPartition, timeout_ms: int, max_records: int) -> Any:
        self.asked.append((set(parts), timeout_ms))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {part: [record(n, b"x") for n in range(many)] for part, many in answer.items()}


ONE, TWO, THREE = (TopicPartition("t", n) for n in range(3))


def reader(lanes: int) -> BatchService:
    made, _ = service(Letters(), {})
    made.agent = replace(made.agent, lanes=lanes)
    return made


async def test_a_batch_of_another_partition_is_taken_only_when_more_waits_than_one_takes() -> None:
    broker = Broker({ONE: 2, TWO: 1})
    assert len(await reader(3)._ready(broker)) == 1
    broker = Broker({ONE: BATCH_MAX}, {TWO: 5})
    taken = await reader(3)._ready(broker)
    assert [list(found) for found in taken] == [[ONE], [TWO]]
    assert broker.asked == [(set(), POLL_MS), ({TWO, THREE}, 0)]


async def test_no_more_batches_are_in_hand_than_there_are_lanes() -> None:
    broker = Broker({ONE: BATCH_MAX}, {TWO: BATCH_MAX}, {THREE: BATCH_MAX})
    assert len(await reader(2)._ready(broker)) == 2
    assert len(await reader(1)._ready(broker)) == 1


async def test_what_has_been_taken_is_worked_on_when_the_next_reading_fails() -> None:
    broker = Broker({ONE: BATCH_MAX}, KafkaError("down"))
    (taken,) = await reader(2)._ready(broker)
    assert list(taken) == [ONE]
    with pytest.raises(KafkaError):
        await reader(2)._ready(Broker(KafkaError("down")))
