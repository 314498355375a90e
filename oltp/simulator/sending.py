"""Two ways to ask: HTTP to the gateway, and the request topic, answered on the decided one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from oltp.simulator.requests import Request
from schemas import events, topics

DEADLINE_S = 5.0
# An answer that is lost must not stop the traffic for good: the client asks again.
REGISTRY_TIMEOUT_S = 5.0
CONNECTIONS = 256


@dataclass(frozen=True)
class Answer:
    """What came back. `outcome` is a decision, `HTTP <status>` or the name of an error."""

    outcome: str
    reason: str = ""


class Gateway:
    """Asks over HTTP."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        self._client = httpx.AsyncClient(base_url=url, timeout=DEADLINE_S, limits=limits)

    async def ask(self, request: Request) -> Answer | None:
        """The answer; None when there is none."""
        try:
            response = await self._client.post("/v1/authorizations", json=request.body())
        except httpx.TimeoutException:
            return None
        except httpx.TransportError as error:
            return Answer(type(error).__name__)
        if response.status_code != 200:
            return Answer(f"HTTP {response.status_code}")
        body = response.json()
        return Answer(body["decision"], body["reason_code"])

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


class RequestTopic:
    """Asks through Kafka; a thread of its own reads the answers."""

    def __init__(self, kafka: str, registry: str) -> None:
        schemas = SchemaRegistryClient({"url": registry, "timeout": REGISTRY_TIMEOUT_S})
        schema = (events.FOLDER / f"{topics.AUTHORIZATION_REQUESTED}.avsc").read_text()
        compact = json.dumps(json.loads(schema), separators=(",", ":"))
        # Subjects are named after topics: nothing has to be asked for that.
        named = {
            "auto.register.schemas": True,
            "subject.name.strategy": topic_subject_name_strategy,
        }
        self._encode = AvroSerializer(schemas, compact, conf=named)
        self._decode = AvroDeserializer(schemas)
        quiet = {"bootstrap.servers": kafka, "log_level": 0}
        self._producer = Producer({**quiet, "linger.ms": 1, "acks": "all"})
        self._consumer = Consumer(
            {**quiet, "group.id": f"simulator-{uuid4()}", "enable.auto.commit": False}
        )
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]]] = {}
        self._from_now_on()
        self._stopped = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    async def ask(self, request: Request) -> Answer | None:
        """The answer; None when there is none in time."""
        loop = asyncio.get_running_loop()
        event = _event(request)
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[event["request_id"]] = (loop, future)
        context = SerializationContext(topics.AUTHORIZATION_REQUESTED, MessageField.VALUE)
        self._producer.produce(
            topics.AUTHORIZATION_REQUESTED,
            key=request.card_id.encode(),
            value=self._encode(event, context),
        )
        self._producer.poll(0)
        try:
            return await asyncio.wait_for(future, DEADLINE_S)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(event["request_id"], None)

    async def close(self) -> None:
        """Send what is left and stop reading."""
        await asyncio.to_thread(self._producer.flush, DEADLINE_S)
        self._stopped.set()
        await asyncio.to_thread(self._reader.join)
        self._consumer.close()

    def _from_now_on(self) -> None:
        topic = topics.AUTHORIZATION_DECIDED
        try:
            known = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        except KafkaException as error:
            raise ConnectionError(f"Kafka does not answer: {error}") from error
        ends = [
            self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)[1]
            for partition in known
        ]
        self._consumer.assign(
            [TopicPartition(topic, p, end) for p, end in zip(known, ends, strict=True)]
        )

    def _read(self) -> None:
        context = SerializationContext(topics.AUTHORIZATION_DECIDED, MessageField.VALUE)
        while not self._stopped.is_set():
            message = self._consumer.poll(0.1)
            if message is None or message.error():
                continue
            decided = self._decode(message.value(), context)
            loop, future = self._waiting.get(decided["request_id"], (None, None))
            if loop is not None and future is not None:
                outcome = "CONFLICT" if decided["conflict"] else decided["decision"]
                answer = Answer(outcome, decided["reason_code"])
                loop.call_soon_threadsafe(_settle, future, answer)


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _event(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = request.body()
    key = fields.pop("network_transaction_id")
    request_id = str(uuid4())
    now = datetime.now(UTC)
    return {
        **fields,
        "request_id": request_id,
        "idempotency_key": key,
        "request_hash": events.request_hash(**fields),
        "requested_at": now,
        "deadline_at": now + timedelta(seconds=DEADLINE_S),
        "correlation_id": request_id,
    }


Ask = Callable[[Request], Any]


async def timed(ask: Ask, request: Request, scheduled: float) -> tuple[Answer | None, float]:
    """The answer and the milliseconds since it was to be sent, late sending included."""
    answer = await ask(request)
    return answer, (time.perf_counter() - scheduled) * 1000
