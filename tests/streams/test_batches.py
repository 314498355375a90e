"""What a batch agent does with messages it cannot read, cannot handle, or cannot handle now."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from streams.batch_agents import Message, batches
from streams.batches import BATCH_MAX, POLL_MS, BatchService
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


ONE, TWO, THREE = (TopicPartition("t", n) for n in range(3))


class Broker:
    """Answers readings one after the other, and then says that there is nothing."""

    def __init__(self, *answers: dict[TopicPartition, int] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int]] = []
        self.committed: list[dict[TopicPartition, int]] = []

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset({ONE, TWO, THREE})

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Any:
        self.asked.append((timeout_ms, max_records))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return {part: [record(n, b"x") for n in range(many)] for part, many in answer.items()}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.committed.append(offsets)


async def test_it_waits_for_kafka_only_when_it_has_nothing_itself() -> None:
    agent, _ = service(Letters(), {})
    broker = Broker({ONE: 1}, {TWO: 1})
    await agent._take(broker)
    await agent._take(broker)
    assert broker.asked == [(POLL_MS, BATCH_MAX), (0, BATCH_MAX - 1)]
    assert agent.inbox.take(1, 1, BATCH_MAX) == [{ONE: [record(0, b"x")]}]


async def test_who_is_full_takes_no_more() -> None:
    agent, _ = service(Letters(), {})
    agent.inbox.put({ONE: [record(n, b"a") for n in range(BATCH_MAX)]})
    broker = Broker()
    await agent._take(broker)
    assert broker.asked == []


async def test_what_arrives_while_a_batch_is_worked_on_is_taken_meanwhile() -> None:
    agent, handled = service(Letters(), {"a": [ConnectionError("down")]})
    broker = Broker(KafkaError("down"), {TWO: 2})
    await agent._process_and_take(broker, [found([b"a"])])
    assert handled == [["a"]]
    assert len(agent.inbox) == 2


async def test_nothing_is_taken_while_partitions_are_given_away() -> None:
    agent, _ = service(Letters(), {"a": [ConnectionError("down")]})
    agent._resting = True
    broker = Broker({TWO: 2})
    await agent._process_and_take(broker, [found([b"a"])])
    assert broker.asked == []
    agent.inbox.put({ONE: [record(7, b"b")], TWO: [record(7, b"b")]})
    await agent.on_partitions_revoked([ONE])
    assert agent.inbox.take(1, 1, BATCH_MAX) == [{TWO: [record(7, b"b")]}]


class Answers:
    """A handler that sends; the broker acknowledges when the test says so."""

    def __init__(self) -> None:
        self.handled: Handled = []
        self.sent: list[asyncio.Future[None]] = []

    def agent(self) -> Any:
        @batches("t", capability="test", decode=decode)
        async def answer(messages: Sequence[Message], means: None) -> asyncio.Future[None]:
            self.handled.append([message.event for message in messages])
            self.sent.append(asyncio.get_running_loop().create_future())
            return self.sent[-1]

        return BatchService(answer, None, servers="127.0.0.1:1", codec=None, letters=Letters())  # type: ignore[arg-type]


async def test_a_batch_is_done_when_its_answers_are_acknowledged_and_the_next_begins_before() -> (
    None
):
    answers = Answers()
    agent = answers.agent()
    await agent._process(None, found([b"a"]))
    second = asyncio.create_task(agent._process(None, {TWO: [record(0, b"b")]}))
    await asyncio.sleep(0.01)
    assert answers.handled == [["a"], ["b"]]
    assert (second.done(), agent.progress.done) == (False, {})
    answers.sent[0].set_result(None)
    await second
    assert agent.progress.done == {ONE: 1}
    answers.sent[1].set_result(None)
    await agent._rest()
    assert agent.progress.done == {ONE: 1, TWO: 1}


async def test_answers_that_the_broker_has_not_are_given_again() -> None:
    answers = Answers()
    agent = answers.agent()
    await agent._process(None, found([b"a"]))
    answers.sent[0].set_exception(KafkaError("gone"))
    resting = asyncio.create_task(agent._rest())
    await asyncio.sleep(0.01)
    assert (answers.handled, agent.progress.done) == ([["a"], ["a"]], {})
    answers.sent[1].set_result(None)
    await resting
    assert agent.progress.done == {ONE: 1}
