"""Redis at a cut: a copy whose change belongs to the cut is served, any other comes from elsewhere.

A copy shows the last change it was told. It is the row at the cut when that change belongs to the
cut and none that belongs to it is still on its way: the agent that keeps the copies has committed
the offsets below which everything before the cut is. What Redis cannot answer (a later change, a
copy read from the database, none at all, a Redis that was restarted) is read from the lake at the
same cut. So the answer is the same, whichever store gave it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import redis
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from pipelines.reading import KnownCut
from pipelines.visibility import Cut, visible
from schemas import contract as contracts
from schemas import keys, topics
from schemas.cached_rows import CACHED_ROWS, CAPABILITY, POSITION, CachedRow, stamp

POLL_S = 0.1
TIMEOUT_S = 5.0
# Ids -> the rows that there were at the cut: `reading.lake_at` with these keys, or a cache of it.
Elsewhere = Callable[[str, Sequence[str]], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Copy:
    """One row at the cut as text, in the columns that copies have; None when there was none.

    `source` says who answered: `redis` or `lake`.
    """

    row: Mapping[str, str] | None
    source: str


class CopiesAtCut:
    """Reads copies at one cut. `elsewhere` is asked for what Redis cannot answer."""

    def __init__(self, client: redis.Redis, kafka: str, at: KnownCut, elsewhere: Elsewhere) -> None:
        self._redis, self._kafka, self._at, self._elsewhere = client, kafka, at, elsewhere
        self._passed: dict[str, bool] = {}

    def read(self, entity: str, ids: Sequence[str], wait_s: float = 0.0) -> dict[str, Copy]:
        """Each row as it was at the cut; `wait_s` gives the agent time to come past the cut."""
        cached = CACHED_ROWS[entity]
        answers: dict[str, Copy] = {}
        # Asked before the copies are: what was told by then is in what is read after.
        if self.has_passed(entity, wait_s):
            answers = self._from_redis(cached, ids)
        if missing := [one for one in ids if one not in answers]:
            rows = self._elsewhere(entity, missing)
            for one in missing:
                row = rows.get(one)
                answers[one] = Copy(None if row is None else texts(cached, row), "lake")
        return {one: answers[one] for one in ids}

    def has_passed(self, entity: str, wait_s: float = 0.0) -> bool:
        """Whether the agent has told Redis everything before the cut; it never goes back."""
        give_up_at = time.monotonic() + wait_s
        while not self._passed.get(entity):
            self._passed[entity] = self._is_past(contracts.load(entity).topic)
            if self._passed[entity] or time.monotonic() >= give_up_at:
                break
            time.sleep(POLL_S)
        return self._passed[entity]

    def _is_past(self, topic: str) -> bool:
        if self._at.offsets is None:
            return False
        ends = {p: end for p, end in self._at.offsets.items() if p.rpartition(":")[0] == topic}
        admin = AdminClient({"bootstrap.servers": self._kafka, "log_level": 0})
        group = topics.consumer_group(CAPABILITY)
        asked = admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S
        )
        places = asked[group].result().topic_partitions or []
        committed = {f"{at.topic}:{at.partition}": at.offset for at in places}
        return all(end == 0 or committed.get(place, 0) >= end for place, end in ends.items())

    def _from_redis(self, cached: CachedRow, ids: Sequence[str]) -> dict[str, Copy]:
        pipe = self._redis.pipeline(transaction=False)
        pipe.info("server")
        pipe.get(keys.copies_run())
        for one in ids:
            pipe.hgetall(cached.key(one))
        server, made_in, *hashes = pipe.execute()
        if made_in != server["run_id"]:
            # Copies of an earlier run may be older than what they once said.
            return {}
        return {
            one: Copy(row if "status" in row else None, "redis")
            for one, found in zip(ids, hashes, strict=True)
            if belongs(found.get(POSITION), self._at.cut)
            for row in [{name: found[name] for name in cached.columns if name in found}]
        }


def belongs(position: str | None, cut: Cut) -> bool:
    """Whether the change that a copy shows is in the cut; False when that cannot be told."""
    place = stamp(position)
    # A row of an incremental snapshot has no place of its own: it is of the time of its chunk.
    if place is None or not place.lsn or (place.is_streamed and place.tx_id is None):
        return False
    return visible(place.tx_id, "c" if place.is_streamed else "r", place.lsn, cut)


def texts(cached: CachedRow, row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the lake as the text that copies have; a null column is left out."""
    return {
        name: value.isoformat() if isinstance(value, date) else str(value).strip()
        for name in cached.columns
        if (value := row.get(name)) is not None
    }
