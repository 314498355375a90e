"""What has been fetched and is not worked on yet, by partition, each partition's in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aiokafka import ConsumerRecord, TopicPartition

Ready = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class Inbox:
    """Takes at most `most` records; who puts asks for its `room` before."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[TopicPartition, list[ConsumerRecord]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def room(self) -> int:
        """How many more records it takes."""
        return max(0, self._most - len(self))

    def put(self, found: Ready) -> None:
        """Add what came after everything that is here of the same partitions."""
        for part, records in found.items():
            self._waiting.setdefault(part, []).extend(records)

    def take(self, lanes: int, batch_max: int) -> list[Ready]:
        """Batches to work on side by side: a partition is in one only, all but the last are full.

        Those that have waited longest go first; what does not fit stays.
        """
        taken: list[dict[TopicPartition, list[ConsumerRecord]]] = []
        room = 0
        for part in list(self._waiting):
            if not room:
                if len(taken) == lanes:
                    break
                taken.append({})
                room = batch_max
            records = self._waiting.pop(part)
            taken[-1][part] = records[:room]
            if left := records[room:]:
                self._waiting[part] = left
            room -= len(taken[-1][part])
        return list(taken)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop what somebody else is going to work on."""
        for part in partitions:
            self._waiting.pop(part, None)
