"""The way to the decider and back: a request goes to its topic, its decision is awaited by its id.

Reads the decided topic from its end, all partitions, in no group: every gateway hears every
decision and takes its own. Connects by itself, as often as it must; until then it refuses requests.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas import topics
from schemas.events import AuthorizationDecided, AuthorizationRequested
from serving import metrics
from serving.wire import RegistryUnavailable, Wire

log = logging.getLogger(__name__)
RETRY_S = 0.5
POLL_MS = 1000
# A request that Kafka has not taken by then is not worth taking any more.
REQUEST_TIMEOUT_MS = 5000


class DeciderUnreachable(Exception):
    """The request could not be handed over; nothing was decided that anybody waits for."""


class DeciderLate(Exception):
    """The request was handed over and no decision came in time."""


class Decider:
    """Asks for decisions over Kafka."""

    def __init__(self, servers: str, wire: Wire) -> None:
        self._servers = servers
        self._wire = wire
        self._waiting: dict[str, asyncio.Future[AuthorizationDecided]] = {}
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._request_parts: tuple[int, ...] = ()
        self._listener: asyncio.Task[None] | None = None
        self.is_listening = False

    def start(self) -> None:
        """Connect in the background."""
        self._listener = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening; requests still waiting get no decision."""
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener

    async def ask(self, request: AuthorizationRequested, timeout_s: float) -> AuthorizationDecided:
        """The decision on the request."""
        answer: asyncio.Future[AuthorizationDecided] = asyncio.get_running_loop().create_future()
        delivery: asyncio.Future[object] | None = None

        def taken(found: asyncio.Future[object]) -> None:
            """An error of the delivery ends the waiting; an error after it has been seen."""
            error = None if found.cancelled() else found.exception()
            if error is not None and not answer.done():
                answer.set_exception(error)

        self._waiting[request.request_id] = answer
        try:
            async with asyncio.timeout(timeout_s):
                delivery = await self.send(request)
                delivery.add_done_callback(taken)
                return await answer
        except (KafkaError, RegistryUnavailable) as error:
            raise DeciderUnreachable(str(error) or repr(error)) from error
        except TimeoutError:
            if delivery is None or not delivery.done():
                raise DeciderUnreachable("Kafka did not take the request in time") from None
            raise DeciderLate("no decision came in time") from None
        finally:
            del self._waiting[request.request_id]

    async def send(self, request: AuthorizationRequested) -> asyncio.Future[object]:
        """Hand a request over; what is given back is done when Kafka has it for good."""
        if self._producer is None or not self.is_listening:
            raise DeciderUnreachable("Kafka is not connected")
        value = await self._wire.encode(request)
        delivery: asyncio.Future[object] = await self._producer.send(
            topics.AUTHORIZATION_REQUESTED, key=request.card_id.encode(), value=value
        )
        return delivery

    async def request_ends(self) -> dict[TopicPartition, int]:
        """Where each partition of the request topic ends, as Kafka knows it now."""
        if self._consumer is None:
            raise DeciderUnreachable("Kafka is not connected")
        parts = [TopicPartition(topics.AUTHORIZATION_REQUESTED, n) for n in self._request_parts]
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(parts)
        return ends

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # whatever it was, the gateway connects anew
                log.warning("connecting to Kafka again: %r", error)
            self.is_listening = False
            await asyncio.sleep(RETRY_S)

    async def _listen_once(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            linger_ms=0,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        try:
            with suppress(RegistryUnavailable):
                await self._wire.prepare()  # so that the first request does not pay for it
            await producer.start()
            await consumer.start()
            answers = await producer.partitions_for(topics.AUTHORIZATION_DECIDED)
            await self._seek_to_end(consumer, answers)
            self._request_parts = tuple(
                await producer.partitions_for(topics.AUTHORIZATION_REQUESTED)
            )
            self._producer, self._consumer, self.is_listening = producer, consumer, True
            log.info("listening for decisions")
            while True:
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        await self._hear(record.value or b"")
        finally:
            self._producer, self._consumer, self.is_listening = None, None, False
            await consumer.stop()
            await producer.stop()

    async def _seek_to_end(self, consumer: AIOKafkaConsumer, numbers: set[int]) -> None:
        """Decisions made before we listen are nobody's here."""
        parts = [TopicPartition(topics.AUTHORIZATION_DECIDED, number) for number in numbers]
        consumer.assign(parts)
        await consumer.seek_to_end(*parts)

    async def _hear(self, value: bytes) -> None:
        try:
            if not self._wire.is_known(value):
                await self._wire.learn(value)
            request_id = self._wire.request_id(value)
            if request_id is not None and request_id not in self._waiting:
                return
            decision = self._wire.decode(value)
        except ValueError as error:
            metrics.UNREADABLE.inc()
            log.warning("a message on the decided topic is no decision: %s", error)
            return
        except RegistryUnavailable as error:
            # Only for a schema never seen before; who waits for this one gets a stand-in.
            metrics.UNREADABLE.inc()
            log.warning("a decision could not be read: %s", error)
            return
        waiting = self._waiting.get(decision.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(decision)
