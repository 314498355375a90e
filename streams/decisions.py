"""The decided topic: one answer for each attempt, keyed by card so that its answers keep order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from aiokafka import AIOKafkaProducer

from schemas import events, topics
from schemas.events import AuthorizationDecided
from streams.codec import Codec

SCHEMA = events.FOLDER / f"{topics.AUTHORIZATION_DECIDED}.avsc"


class Decisions:
    """Sends decisions; when `send` returns the broker has them all."""

    def __init__(self, producer: AIOKafkaProducer, codec: Codec) -> None:
        self._producer = producer
        self._codec = codec

    async def send(self, decided: Sequence[AuthorizationDecided]) -> None:
        """Send in order. Sending again after a crash repeats answers, never decisions."""
        acknowledged = []
        for decision in decided:
            value = await self._codec.encode(topics.AUTHORIZATION_DECIDED, SCHEMA, asdict(decision))
            acknowledged.append(
                await self._producer.send(
                    topics.AUTHORIZATION_DECIDED, key=decision.card_id.encode(), value=value
                )
            )
        await asyncio.gather(*acknowledged)
