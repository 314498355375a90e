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

    def take(self, lanes: int, lane_size: int, batch_max: int) -> list[Ready]:
        """Batches to work on side by side: a partition is in one only.

        Another one is begun when the one before has at least `lane_size`. Those that have waited
        longest go first; what does not fit stays, before what is put later.
        """
        taken: list[dict[TopicPartition, list[ConsumerRecord]]] = []
        size = lane_size
        for part in list(self._waiting):
            if size >= lane_size:
                if len(taken) == lanes:
                    break
                taken.append({})
                size = 0
            records = self._waiting.pop(part)
            taken[-1][part] = records[: batch_max - size]
            if left := records[batch_max - size :]:
                self._waiting[part] = left
            size += len(taken[-1][part])
        return list(taken)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop what somebody else is going to work on."""
        for part in partitions:
            self._waiting.pop(part, None)
