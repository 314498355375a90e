"""Keeps the velocity sets of cards and accounts: authorizations in, sorted sets in Redis out.

Idempotent by authorization: the same one adds the same member. A set that Redis lost is filled from
the database before it is called complete; until then its readers ask the database.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas import contract, features, keys
from streams import changes
from streams.batch_agents import Message, batches
from streams.ledger import Ledger
from streams.risk import policy
from streams.store import NO_POSITION, Attempts, Store

log = logging.getLogger(__name__)
TOPIC = contract.load("authorizations").topic


@dataclass(frozen=True)
class Means:
    """What the agent works with."""

    store: Store
    ledger: Ledger


@batches(TOPIC, capability="risk", decode=changes.decode)
async def score_risk(messages: Sequence[Message], means: Means) -> None:
    """Add each decided authorization to its card's and its account's window."""
    for entity in features.ENTITIES:
        additions = _additions(entity, [message.event for message in messages])
        await means.store.add(list(additions.values()))
        await _complete(entity, additions, means)


def _additions(entity: str, found: Sequence[changes.Change]) -> dict[str, Attempts]:
    members: dict[str, dict[str, int]] = defaultdict(dict)
    positions: dict[str, str] = {}
    for change in found:
        row = change.after
        entity_id = row.get(policy.ID_COLUMN[entity]) if row else None
        if row is None or entity_id is None:
            continue  # a deleted decision, or one for a card that belongs to no account
        attempt = policy.attempt(row)
        if not policy.is_plausible(attempt, change.changed_at_ms):
            log.warning("%s is decided in the future; not counted", attempt.authorization_id)
            continue
        members[entity_id][attempt.member()] = attempt.decided_at_ms
        positions[entity_id] = max(positions.get(entity_id, ""), change.position)
    return {
        entity_id: _attempts(entity, entity_id, positions[entity_id], found_members)
        for entity_id, found_members in members.items()
    }


async def _complete(entity: str, additions: dict[str, Attempts], means: Means) -> None:
    """Fill the sets that are not known to be complete from the database."""
    ids = list(additions)
    marks = await means.store.complete([additions[i].meta_key for i in ids])
    missing = [i for i, is_complete in zip(ids, marks, strict=True) if not is_complete]
    if not missing:
        return
    since = datetime.now(UTC) - timedelta(seconds=keys.VELOCITY_TTL_S)
    column = policy.ID_COLUMN[entity]
    members: dict[str, dict[str, int]] = {i: {} for i in missing}
    for row in await means.ledger.attempts(column, missing, since):
        attempt = policy.attempt(row)
        members[row[column]][attempt.member()] = attempt.decided_at_ms
    await means.store.add(
        [_attempts(entity, i, NO_POSITION, members[i], complete=True) for i in missing]
    )


def _attempts(
    entity: str, entity_id: str, position: str, members: dict[str, int], complete: bool = False
) -> Attempts:
    return Attempts(
        keys.velocity(entity, entity_id),
        keys.velocity_meta(entity, entity_id),
        position,
        members,
        keys.VELOCITY_TTL_S,
        complete,
    )
