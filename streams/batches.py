"""Batch agents: `@batches(topic, ...)` turns a handler into an agent of the Faust app.

An agent gets what Kafka has ready and never waits for more, records in order per key. Offsets are
committed only after the handler returned, so a killed worker repeats a batch and never loses one:
every effect must be safe to repeat. What cannot be decoded goes to the topic's dead letters, with
its bytes. When something the handler needs is down, the batch waits and is tried again; the agent
holds at most one batch and what Kafka prefetches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from mode import Service

from schemas.topics import consumer_group
from streams import metrics
from streams.codec import Codec, Undecodable
from streams.dead_letters.letters import DeadLetters
from streams.outages import OUTAGES, Backoff

log = logging.getLogger(__name__)

# Bounds memory and the length of one transaction.
BATCH_MAX = 300
# Small answers matter more than full fetches: the broker answers as soon as it has one byte, and an
# empty fetch returns soon enough for a clean stop.
POLL_MS = 250
FETCH_WAIT_MS = 500
# A killed worker's partitions are given to its successor after this; brokers allow no less.
SESSION_MS, HEARTBEAT_MS = 6000, 1500
# A batch waits for what is down as long as it takes; the session heartbeat shows that we live.
POLL_INTERVAL_MAX_MS = 24 * 3600 * 1000
# A killed worker repeats at most this much work; a commit per batch would cost more than that.
COMMIT_EVERY_S = 0.1
# A stop waits this long for the batch in hand.
STOP_WAIT_S = 10


@dataclass(frozen=True)
class Message:
    """One decoded record. `event` is what the topic's decoder made of the bytes."""

    event: Any
    record: ConsumerRecord


Handler = Callable[[Sequence[Message], Any], Awaitable[None]]
Decoder = Callable[[Codec, ConsumerRecord], Awaitable[Any]]


@dataclass(frozen=True)
class BatchAgent:
    """A handler and what it listens to; `streams/app.py` gives it its means and starts it."""

    name: str
    topics: tuple[str, ...]
    decode: Decoder
    handle: Handler


def batches(*topics: str, capability: str, decode: Decoder) -> Callable[[Handler], BatchAgent]:
    """Make an agent of a handler; `decode` returning None means the record is to be passed over."""

    def make(handle: Handler) -> BatchAgent:
        return BatchAgent(capability, topics, decode, handle)

    return make


@dataclass
class _Progress:
    """How far the effects are done, and which of it Kafka has not been told yet."""

    done: dict[TopicPartition, int] = field(default_factory=dict)
    untold: dict[TopicPartition, int] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.done.update(offsets)
        self.untold.update(offsets)
        self.news.set()

    def told(self, offsets: Mapping[TopicPartition, int]) -> None:
        for partition, end in offsets.items():
            if self.untold.get(partition) == end:
                del self.untold[partition]


class BatchService(Service):
    """Runs one agent inside the worker: consumer, decoding, retries, commits, a clean stop."""

    def __init__(
        self,
        agent: BatchAgent,
        means: Any,
        *,
        servers: str,
        codec: Codec,
        letters: DeadLetters,
        **service: Any,
    ) -> None:
        super().__init__(**service)
        self.agent = agent
        self.means = means
        self.codec = codec
        self.letters = letters
        self.servers = servers
        self.consumer: AIOKafkaConsumer | None = None
        self.progress = _Progress()
        self.waits_for: str | None = None
        self._busy = asyncio.Lock()

    @property
    def label(self) -> str:
        """The name in logs."""
        return f"{self.agent.name} agent"

    @property
    def is_ready(self) -> bool:
        """True once Kafka has given it partitions."""
        return self.consumer is not None and bool(self.consumer.assignment())

    def lag(self) -> int:
        """Records that wait in Kafka for this agent, as far as the consumer has heard."""
        if self.consumer is None:
            return 0
        behind = 0
        for partition in self.consumer.assignment():
            end = self.consumer.highwater(partition)
            if end is not None:
                behind += max(0, end - self.progress.done.get(partition, end))
        return behind

    async def on_stop(self) -> None:
        """Finish the batch, commit it and leave the group, so that a successor starts at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT_S), self._busy:
                pass
        if self.consumer is not None:
            await self._commit(self.consumer)
            await self.consumer.stop()

    @Service.task
    async def _read(self) -> None:
        backoff = Backoff()
        while not self.should_stop:
            try:
                consumer = await self._connected()
                found = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_MAX)
                backoff.reset()
            except KafkaError as error:
                if self.should_stop:
                    return
                await self._wait(backoff, error)
                continue
            records = [record for part in found.values() for record in part]
            if records:
                async with self._busy:
                    await self._process(records)

    @Service.task
    async def _commit_behind(self) -> None:
        """Commits beside the work, so that the next batch does not wait for the broker's answer."""
        while not self.should_stop:
            await self.progress.news.wait()
            self.progress.news.clear()
            if self.consumer is not None:
                await self._commit(self.consumer)
            await self.sleep(COMMIT_EVERY_S)

    async def _connected(self) -> AIOKafkaConsumer:
        if self.consumer is None:
            consumer = AIOKafkaConsumer(
                *self.agent.topics,
                bootstrap_servers=self.servers,
                group_id=consumer_group(self.agent.name),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=FETCH_WAIT_MS,
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=HEARTBEAT_MS,
                max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self.consumer = consumer
        return self.consumer

    async def _process(self, records: list[ConsumerRecord]) -> None:
        started = time.perf_counter()
        messages = []
        for record in records:
            event = await self._decoded(record)
            if event is not None:
                messages.append(Message(event, record))
        if messages:
            await self._handle(messages)
        ends: dict[TopicPartition, int] = {}
        for record in records:
            ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
        self.progress.advance(ends)
        metrics.BATCH_SECONDS.labels(self.agent.name).observe(time.perf_counter() - started)
        metrics.MESSAGES.labels(self.agent.name, "handled").inc(len(messages))
        metrics.LAG.labels(self.agent.name).set(self.lag())

    async def _decoded(self, record: ConsumerRecord) -> Any:
        try:
            event = await self._patiently(lambda: self.agent.decode(self.codec, record))
        except Undecodable as error:
            await self._bury(record, error)
            return None
        if event is None:
            metrics.MESSAGES.labels(self.agent.name, "passed_over").inc()
        return event

    async def _handle(self, messages: Sequence[Message]) -> None:
        """The whole batch, or each on its own when one of them cannot be handled at all."""
        try:
            await self._patiently(lambda: self.agent.handle(messages, self.means))
        except Exception as error:
            if len(messages) == 1:
                log.exception("%s: cannot handle %s", self.agent.name, _place(messages[0].record))
                await self._bury(messages[0].record, error)
                return
            log.warning("%s: %s; trying the batch one by one", self.agent.name, error)
            for message in messages:
                await self._handle([message])

    async def _bury(self, record: ConsumerRecord, error: Exception) -> None:
        await self._patiently(lambda: self.letters.send(record, error))
        metrics.MESSAGES.labels(self.agent.name, "dead_letter").inc()

    async def _patiently(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Retry for as long as something is down; any other error is the caller's."""
        backoff = Backoff()
        while True:
            try:
                result = await work()
            except OUTAGES as error:
                if self.should_stop:
                    # Nothing of this batch is committed: the next start repeats it.
                    raise asyncio.CancelledError from error
                await self._wait(backoff, error)
            else:
                self.waits_for = None
                return result

    async def _wait(self, backoff: Backoff, error: BaseException) -> None:
        self.waits_for = f"{type(error).__name__}: {error}"
        delay_s = backoff.next_s()
        metrics.RETRIES.labels(self.agent.name, type(error).__name__).inc()
        log.warning("%s waits %.1f s: %s", self.agent.name, delay_s, self.waits_for)
        await self.sleep(delay_s)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        assigned = consumer.assignment()
        offsets = {part: end for part, end in self.progress.untold.items() if part in assigned}
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
            self.progress.told(offsets)
        except (KafkaError, IllegalStateError) as error:
            # The work is done and repeating it is safe; the next commit covers these offsets too.
            log.warning("%s: offsets not committed yet: %s", self.agent.name, error)


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"
