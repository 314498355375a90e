"""Counts how often work began at an offset and was not finished: what kills its worker is found.

The count is the metadata of the group's own commit at that offset, so it needs nothing but Kafka
and goes wherever the partition goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata

# A message that was begun as often as this and never finished goes to the dead letters.
STARTS_MAX = 3


class WorkerKilled(Exception):
    """Nobody has survived this message."""

    reason = "worker_killed"

    def __init__(self, starts: int) -> None:
        super().__init__(f"the worker died {starts} times while it handled this message")


class Starts:
    """The starts of one consumer group."""

    def __init__(self, servers: str, group: str) -> None:
        self._servers = servers
        self._group = group

    async def begin(self, consumer: AIOKafkaConsumer, part: TopicPartition, offset: int) -> int:
        """Note a start at the offset, before anything is done; says which one it is."""
        count = 1 + _count(await self._committed(part), offset)
        # A rebalance has taken the partition: whoever gets it counts.
        with suppress(CommitFailedError, IllegalStateError):
            await consumer.commit({part: (offset, str(count))})
        return count

    async def forgive(
        self, consumer: AIOKafkaConsumer, first: Mapping[TopicPartition, int]
    ) -> None:
        """The work is not done, and the message is not to blame: something else is down."""
        await consumer.commit({part: (offset, "") for part, offset in first.items()})

    async def _committed(self, part: TopicPartition) -> OffsetAndMetadata | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self._group, partitions=[part])
            return cast(OffsetAndMetadata | None, found.get(part))
        finally:
            await admin.close()


def _count(committed: OffsetAndMetadata | None, offset: int) -> int:
    """How many starts were noted at the offset."""
    if committed is None or committed.offset != offset or not committed.metadata.isdecimal():
        return 0
    return int(committed.metadata)
