"""Keeps Redis snapshots of customers, KYC, accounts and cards: changes in, guarded hashes out.

Any order of arrival, and any repetition, ends in the same snapshots: an older change is a no-op.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas import contract, keys
from schemas.cached_rows import stamped
from streams import changes, metrics
from streams.batch_agents import Message, batches
from streams.cache import policy
from streams.store import Store, Write

TOPICS = {contract.load(entity).topic: entity for entity in policy.ENTITIES}


@dataclass(frozen=True)
class Means:
    """What the agent works with."""

    store: Store


@batches(*TOPICS, capability="cache", decode=changes.decode)
async def refresh(messages: Sequence[Message], means: Means) -> None:
    """Apply each change that is newer than what Redis has."""
    applied = await means.store.apply([w for m in messages for w in writes(m.event)])
    metrics.CHANGES.labels("applied").inc(sum(applied))
    metrics.CHANGES.labels("older").inc(len(applied) - sum(applied))


def writes(change: changes.Change) -> list[Write]:
    """The change's edits with its place in the log as guard."""
    return [
        Write(
            edit.key,
            edit.guard,
            edit.age + stamped(change.position, change.tx_id),
            edit.fields,
            edit.drop,
            keys.SNAPSHOT_TTL_S,
        )
        for edit in policy.edits(TOPICS[change.topic], change.before, change.after)
    ]
