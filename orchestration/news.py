"""Is there news in Kafka? Offsets of the captured topics, and what the last good run had seen.

Only the topics of contracts count: a heartbeat, a signal or a dead letter is no reason to run. What
was released from quarantine is news as well: a decision counts like an offset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines import decisions

# "topic:partition" -> the offset after the last message
Offsets = dict[str, int]

# The prefix keeps them out of the list of runs, where nobody reads 36 offsets.
ATTEMPTED_TAG = ".dagster/millrace_attempted_offsets"
COMPLETE_TAG = ".dagster/millrace_complete_offsets"
# Marks the runs that brought everything they had seen to gold.
COMPLETE = {"millrace/complete": "true"}
RETRY_AFTER_S = (0, 10, 30, 60, 120, 300)


def newer(ends: Offsets, seen: Mapping[str, int]) -> Offsets:
    """How many messages each topic has beyond what was seen; topics without any are left out."""
    counts: Offsets = {}
    for place, end in ends.items():
        if (beyond := end - seen.get(place, 0)) > 0:
            topic = place.rpartition(":")[0]
            counts[topic] = counts.get(topic, 0) + beyond
    return counts


def retry_due(failures: int, seconds_since: float) -> bool:
    """A first failure is retried at once, later ones with growing pauses."""
    pause = RETRY_AFTER_S[min(failures - 1, len(RETRY_AFTER_S) - 1)] if failures else 0
    return seconds_since >= pause


def to_tag(offsets: Offsets) -> str:
    """Offsets as a run tag."""
    return json.dumps(offsets, sort_keys=True, separators=(",", ":"))


def from_tag(tag: str | None) -> Offsets:
    """Offsets of a run tag; none when there is no tag."""
    return {str(k): int(v) for k, v in json.loads(tag).items()} if tag else {}


def released(lake: Path) -> Offsets:
    """The last decision to release changes from quarantine, an entity each, as an offset."""
    return {f"quarantine.{entity}:0": number for entity, number in decisions.asked(lake).items()}


def end_offsets(bootstrap: str, topics: Iterable[str], timeout_s: float = 5) -> Offsets:
    """The end of every partition of the topics that exist, in two requests."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._listoffsets import OffsetSpec

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    existing = admin.list_topics(timeout=timeout_s).topics
    wanted = {
        TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for topic in topics
        if topic in existing
        for partition in existing[topic].partitions
    }
    if not wanted:
        return {}
    found = admin.list_offsets(wanted, request_timeout=timeout_s)
    return {f"{at.topic}:{at.partition}": future.result().offset for at, future in found.items()}
