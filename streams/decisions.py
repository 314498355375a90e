"""The decided topic: one answer for each attempt, in the order of the requests of its partition."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import events, topics
from schemas.events import AuthorizationDecided
from streams.codec import Codec

TOPIC = topics.AUTHORIZATION_DECIDED
SCHEMA = events.FOLDER / f"{TOPIC}.avsc"


class Decisions:
    """Sends decisions; the broker has them all when what `send` returns is done."""

    def __init__(self, producer: AIOKafkaProducer, codec: Codec) -> None:
        self._producer = producer
        self._codec = codec
        self._partitions = 0

    async def send(
        self, decided: Iterable[tuple[int, AuthorizationDecided]]
    ) -> asyncio.Future[list[Any]]:
        """Send in order, each to the partition with its request's number: one batch for each.

        Sending again after a crash repeats answers, never decisions.
        """
        await self._codec.prepare(TOPIC, SCHEMA)
        if not self._partitions:
            self._partitions = len(await self._producer.partitions_for(TOPIC))
        by_partition: dict[int, list[AuthorizationDecided]] = defaultdict(list)
        for partition, decision in decided:
            by_partition[partition % self._partitions].append(decision)
        sent: list[asyncio.Future[Any]] = []
        for partition, decisions in by_partition.items():
            batch = self._producer.create_batch()
            for decision in decisions:
                value = self._codec.encode(TOPIC, vars(decision))
                key = decision.card_id.encode()
                if batch.append(key=key, value=value, timestamp=None) is None:  # it is full
                    sent.append(await self._producer.send_batch(batch, TOPIC, partition=partition))
                    batch = self._producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
            sent.append(await self._producer.send_batch(batch, TOPIC, partition=partition))
        return asyncio.gather(*sent)
