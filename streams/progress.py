"""How far an agent is in each partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition


@dataclass
class Progress:
    """How far the effects are done, and which of it Kafka has not been told yet."""

    done: dict[TopicPartition, int] = field(default_factory=dict)
    untold: dict[TopicPartition, int] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self, offsets: Mapping[TopicPartition, int]) -> None:
        """All before the offsets is done."""
        self.done.update(offsets)
        self.untold.update(offsets)
        self.news.set()

    def told(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Kafka knows of the offsets."""
        for partition, end in offsets.items():
            if self.untold.get(partition) == end:
                del self.untold[partition]

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Somebody else goes on with the partitions."""
        for partition in partitions:
            self.done.pop(partition, None)
            self.untold.pop(partition, None)
