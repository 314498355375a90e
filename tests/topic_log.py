"""Reads Kafka topics from their start, each message decoded with the schema it was written with."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import fastavro
import httpx
from confluent_kafka import Consumer, TopicPartition


class Message(NamedTuple):
    """One decoded message; `value` is None for a tombstone."""

    key: Any
    value: Any
    headers: dict[str, bytes]
    schema: dict[str, Any] | None
    partition: int
    offset: int = 0

    @property
    def kind(self) -> str:
        return self.value["op"] if self.value else "tombstone"


class Log:
    """Reads what a topic has, with each record's own schema from the registry."""

    def __init__(self, env: dict[str, str]):
        self._registry = env["MILLRACE_REGISTRY"]
        self._schemas: dict[int, dict[str, Any]] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": env["MILLRACE_KAFKA"],
                "group.id": str(uuid4()),
                "log_level": 0,
            }
        )

    def read(self, topic: str) -> list[Message]:
        """Everything that is in the topic now."""
        found = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends = {}
        for partition in found:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition))
            if high > low:
                ends[partition] = high
        self._consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        messages = []
        while ends:
            got = self._consumer.poll(30)
            assert got is not None, f"{topic} stopped before its end"
            assert not got.error(), got.error()
            if got.offset() + 1 >= ends.get(got.partition(), 0):
                ends.pop(got.partition(), None)
            key, _ = self._decode(got.key())
            value, schema = self._decode(got.value())
            headers = dict(got.headers() or ())
            messages.append(Message(key, value, headers, schema, got.partition(), got.offset()))
        return messages

    def until(self, topic: str, wanted: Callable[[list[Message]], bool], within_s=90):
        """Read again until `wanted` is content with what is there."""
        deadline = time.monotonic() + within_s
        while not wanted(messages := self.read(topic)):
            assert time.monotonic() < deadline, f"{topic} has only {len(messages)} messages"
            time.sleep(0.2)
        return messages

    def _decode(self, data: bytes | None) -> tuple[Any, dict[str, Any] | None]:
        if data is None:
            return None, None
        assert data[0] == 0, "not the Confluent wire format"
        number = int.from_bytes(data[1:5], "big")
        if number not in self._schemas:
            answer = httpx.get(f"{self._registry}/schemas/ids/{number}").raise_for_status()
            self._schemas[number] = json.loads(answer.json()["schema"])
        rest = io.BytesIO(data[5:])
        schema = self._schemas[number]
        value = fastavro.schemaless_reader(rest, fastavro.parse_schema(schema))
        assert not rest.read(), "bytes are left after the record"
        return value, schema
