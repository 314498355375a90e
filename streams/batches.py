"""Runs batch agents (`streams/batch_agents.py`) inside the Faust app.

An agent gets what Kafka has ready and never waits for more, records in order per key. What arrives
while a batch is worked on is fetched meanwhile, and what the handler sent and the broker has not
acknowledged is waited for beside the next batch. When much is ready, batches of other partitions
are worked on beside it, in as many lanes as the agent has: one works while another waits for an
answer. Offsets are committed only after every effect, so a killed worker repeats a
batch and never loses one: every effect must be safe to repeat. What cannot be decoded goes to the
topic's dead letters, with its bytes, and so does a message that nobody survives. When something the
handler needs is down, the batch waits and is tried again; an agent holds at most three batches for
each lane and what Kafka prefetches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from mode import Service

from schemas.topics import consumer_group
from streams import metrics
from streams.batch_agents import BatchAgent, Message
from streams.codec import Codec, SchemaNeeded
from streams.dead_letters.letters import DeadLetters
from streams.inbox import Inbox, Ready
from streams.outages import OUTAGES, Backoff
from streams.progress import Progress
from streams.starts import STARTS_MAX, Starts, WorkerKilled

log = logging.getLogger(__name__)

# Bounds memory and the length of one transaction.
BATCH_MAX = 300
# From here on a batch costs little beside its records: others may be worked on beside it.
LANE_SIZE = 40
# Small answers matter more than full fetches: the broker answers as soon as it has one byte, and an
# empty fetch returns soon enough for a clean stop.
POLL_MS = 250
FETCH_WAIT_MS = 500
# The consumer fetches nothing while it has something that nobody has taken, so what it has is taken
# while a batch is worked on: the more often the fewer records there are to share a fetch's price.
TAKE_PAUSE_S, TAKE_PAUSE_PER_RECORD_S = 0.001, 0.00025
# A killed worker's partitions are given to its successor after this; brokers allow no less.
SESSION_MS, HEARTBEAT_MS = 6000, 1500
# A batch waits for what is down as long as it takes; the session heartbeat shows that we live.
POLL_INTERVAL_MAX_MS = 24 * 3600 * 1000
# A killed worker repeats at most this much work; a commit per batch would cost more than that.
COMMIT_EVERY_S = 0.1
# A stop, and a rebalance, wait this long for the batches in hand.
STOP_WAIT_S = 10
_BURIED = object()


# Messages that were handled, and what they wait for.
Sent = tuple[Sequence[Message], Awaitable[Any]]


class BatchService(Service, ConsumerRebalanceListener):
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
        self.progress = Progress()
        self.inbox = Inbox(BATCH_MAX * agent.lanes)
        self.starts = Starts(servers, consumer_group(agent.name))
        # Partitions of which no batch has been finished since they were given to us, and where the
        # first one began.
        self._unproven: set[TopicPartition] = set()
        self._begun: dict[TopicPartition, int] = {}
        self._waiting: dict[asyncio.Task[Any] | None, str] = {}
        self._busy = asyncio.Lock()
        self._unacknowledged: set[asyncio.Task[None]] = set()
        self._resting = False

    @property
    def label(self) -> str:
        """The name in logs."""
        return f"{self.agent.name} agent"

    @property
    def is_ready(self) -> bool:
        """True once Kafka has given it partitions."""
        return self.consumer is not None and bool(self.consumer.assignment())

    @property
    def waits_for(self) -> str | None:
        """What is down that a batch waits for."""
        return next(iter(self._waiting.values()), None)

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

    async def on_start(self) -> None:
        """Connect beside the others; everything may still be down."""
        self.add_future(self._run())

    async def on_stop(self) -> None:
        """Finish the batches, commit them and leave the group: a successor starts at once."""
        await self._rest()
        if self.consumer is not None:
            await self.consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what is in hand before somebody else begins where we have committed."""
        self.inbox.forget(revoked)
        await self._rest()
        self.progress.forget(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Every one is new: somebody may have died of its first message."""
        self._unproven = set(assigned)

    async def _rest(self) -> None:
        """Wait for the batches in hand, within reason, and commit what is done."""
        self._resting = True
        try:
            async with asyncio.timeout(STOP_WAIT_S), self._busy:
                await asyncio.gather(*self._unacknowledged, return_exceptions=True)
        except TimeoutError:
            log.warning("%s: still at work after %d s", self.agent.name, STOP_WAIT_S)
        finally:
            self._resting = False
        if self.consumer is not None:
            await self._forgive(self.consumer)
            await self._commit(self.consumer)

    async def _run(self) -> None:
        consumer = await self._patiently(self._connected)
        await asyncio.gather(self._commit_behind(consumer), self._read(consumer))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        backoff = Backoff()
        while not self.should_stop:
            try:
                await self._take(consumer)
            except (KafkaError, ConsumerStoppedError) as error:
                if not self.should_stop:
                    await self._wait(backoff, error)
                continue
            backoff.reset()
            self._waiting.pop(asyncio.current_task(), None)
            async with self._busy:
                lanes = self.inbox.take(self.agent.lanes, LANE_SIZE, BATCH_MAX)
                if lanes and not self.should_stop:
                    await self._process_and_take(consumer, lanes)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        """Take what the consumer has; wait for it only when there is nothing else to do."""
        if room := self.inbox.room:
            wait_ms = 0 if len(self.inbox) else POLL_MS
            self.inbox.put(await consumer.getmany(timeout_ms=wait_ms, max_records=room))

    async def _process_and_take(self, consumer: AIOKafkaConsumer, lanes: Sequence[Ready]) -> None:
        """Work on the batches, and keep the consumer fetching until they are done."""
        records = sum(len(one) for found in lanes for one in found.values())
        pause_s = max(TAKE_PAUSE_S, TAKE_PAUSE_PER_RECORD_S * records)
        work = asyncio.create_task(self._process_all(consumer, lanes))
        try:
            while not (await asyncio.wait({work}, timeout=pause_s))[0]:
                # In a rebalance the consumer would wait for its end, and that waits for us.
                if (room := self.inbox.room) and not self._resting:
                    with suppress(KafkaError):  # the next reading says it again
                        self.inbox.put(await consumer.getmany(timeout_ms=0, max_records=room))
        finally:
            work.cancel()
        await work

    async def _commit_behind(self, consumer: AIOKafkaConsumer) -> None:
        """Commits beside the work, so that the next batch does not wait for the broker's answer."""
        while not self.should_stop:
            await self.progress.news.wait()
            self.progress.news.clear()
            await self._commit(consumer)
            await self.sleep(COMMIT_EVERY_S)

    async def _connected(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            group_id=consumer_group(self.agent.name),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
        )
        consumer.subscribe(self.agent.topics, listener=self)
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        self.consumer = consumer
        return consumer

    async def _process_all(self, consumer: AIOKafkaConsumer, lanes: Sequence[Ready]) -> None:
        if len(lanes) == 1 or any(not self._unproven.isdisjoint(found) for found in lanes):
            # One after the other: if one of them kills us, it is the one that was begun.
            for found in lanes:
                await self._process(consumer, found)
            return
        async with asyncio.TaskGroup() as beside:
            for found in lanes:
                beside.create_task(self._process(consumer, found))

    async def _process(self, consumer: AIOKafkaConsumer, found: Ready) -> None:
        started = time.perf_counter()
        ends = {part: records[-1].offset + 1 for part, records in found.items()}
        sent: list[Sent] = []
        if not self._unproven.isdisjoint(found):
            await self._begin(consumer, found)
        else:
            await self._work([record for part in found.values() for record in part], sent)
            # No more than one batch of each lane is unacknowledged.
            await asyncio.gather(*self._unacknowledged)
        if sent:
            waiting = asyncio.create_task(self._acknowledged(sent, ends))
            self._unacknowledged.add(waiting)
            waiting.add_done_callback(self._unacknowledged.discard)
        else:
            self.progress.advance(ends)
        metrics.BATCH_SECONDS.labels(self.agent.name).observe(time.perf_counter() - started)
        metrics.BATCH_SIZE.labels(self.agent.name).observe(sum(map(len, found.values())))
        metrics.LAG.labels(self.agent.name).set(self.lag())

    async def _acknowledged(self, sent: Sequence[Sent], ends: Mapping[TopicPartition, int]) -> None:
        """The batch is done when the broker has what was sent; what it has not is done again."""
        for messages, acknowledgement in sent:
            try:
                await acknowledgement
            except OUTAGES as error:
                log.warning("%s: not acknowledged, done again: %s", self.agent.name, error)
                await self._handle(messages)
        self.progress.advance(ends)

    async def _begin(self, consumer: AIOKafkaConsumer, found: Ready) -> None:
        """The first batch: where somebody died before, each message is handled by itself."""
        for part, records in found.items():
            first = records[0].offset
            count = await self._noted(consumer, part, first)
            if count == 1:
                await self._work(records)
            elif count > STARTS_MAX:
                await self._bury(records[0], WorkerKilled(count - 1))
            else:
                await self._work(records[:1])
            for record in records[1:] if count > 1 else ():
                await self._noted(consumer, part, record.offset)
                await self._work([record])
            self._begun.pop(part, None)
        self._unproven.difference_update(found)

    async def _noted(self, consumer: AIOKafkaConsumer, part: TopicPartition, offset: int) -> int:
        count = await self._patiently(lambda: self.starts.begin(consumer, part, offset))
        self._begun[part] = offset
        return cast(int, count)

    async def _forgive(self, consumer: AIOKafkaConsumer) -> None:
        """We live: what has been begun and is not finished is not what kills workers."""
        if self._begun:
            begun, self._begun = self._begun, {}
            with suppress(KafkaError):
                await self.starts.forgive(consumer, begun)

    async def _work(
        self, records: Sequence[ConsumerRecord], sent: list[Sent] | None = None
    ) -> None:
        """All the effects of some records; acknowledgements are left to who gives a list."""
        decode, codec = self.agent.decode, self.codec
        messages = []
        passed_over = 0
        for record in records:
            try:
                event = decode(codec, record)
            except Exception as error:
                event = await self._decoded(record, error)
            if event is None:
                passed_over += 1
            elif event is not _BURIED:
                messages.append(Message(event, record))
        handled = await self._handle(messages, sent) if messages else 0
        metrics.MESSAGES.labels(self.agent.name, "handled").inc(handled)
        metrics.MESSAGES.labels(self.agent.name, "passed_over").inc(passed_over)

    async def _decoded(self, record: ConsumerRecord, error: Exception) -> Any:
        """The event once its schema is known; or the record goes to the dead letters."""
        try:
            if not isinstance(error, SchemaNeeded):
                raise error
            await self._patiently(lambda: self.codec.fetch(error.schema_id))
            return self.agent.decode(self.codec, record)
        except Exception as reason:
            await self._bury(record, reason)
            return _BURIED

    async def _handle(self, messages: Sequence[Message], sent: list[Sent] | None = None) -> int:
        """The whole batch, or each on its own when one of them cannot be; says how many were."""

        async def once() -> None:
            acknowledgement = await self.agent.handle(messages, self.means)
            if acknowledgement is None:
                return
            if sent is None:
                await acknowledgement
            else:
                sent.append((messages, acknowledgement))

        try:
            await self._patiently(once)
        except Exception as error:
            if len(messages) == 1:
                log.exception("%s: cannot handle %s", self.agent.name, _place(messages[0].record))
                await self._bury(messages[0].record, error)
                return 0
            log.warning("%s: %s; trying the batch one by one", self.agent.name, error)
            return sum([await self._handle([message], sent) for message in messages])
        return len(messages)

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
                if self.consumer is not None:
                    await self._forgive(self.consumer)
                await self._wait(backoff, error)
            else:
                self._waiting.pop(asyncio.current_task(), None)
                return result

    async def _wait(self, backoff: Backoff, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}"
        self._waiting[asyncio.current_task()] = reason
        delay_s = backoff.next_s()
        metrics.RETRIES.labels(self.agent.name, type(error).__name__).inc()
        log.warning("%s waits %.1f s: %s", self.agent.name, delay_s, reason)
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
