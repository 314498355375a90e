"""Feature vectors on demand: from Redis when all of the history is there, else from Postgres."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import redis
from redis.asyncio import Redis

from schemas import features, keys
from serving.records import Records
from serving.shapes import FeatureVector
from streams.risk import policy
from streams.risk.policy import Attempt

log = logging.getLogger(__name__)


class FeatureReader:
    """Computes vectors from the same members and by the same rules as the risk agent keeps them."""

    def __init__(self, client: Redis, records: Records) -> None:
        self._client = client
        self._records = records

    async def read(self, entity: str, entity_id: UUID, as_of: datetime) -> FeatureVector:
        """The vector of the entity at a moment; defaults when it has no history."""
        longest = timedelta(seconds=max(f.window_s for f in features.of(entity)))
        copy = await self._from_redis(entity, entity_id, as_of)
        if copy is None:
            column = policy.ID_COLUMN[entity]
            rows = await self._records.history(column, str(entity_id), as_of - longest, as_of)
            found, position = [policy.attempt(row) for row in rows], None
        else:
            found, position = copy
        newest_ms = max((one.decided_at_ms for one in found), default=None)
        as_of_ms = policy.milliseconds(as_of)
        return FeatureVector(
            entity=entity,
            id=entity_id,
            version=f"{entity}.v{max(f.version for f in features.of(entity))}",
            as_of=as_of,
            values=policy.vector(entity, found, as_of_ms),
            has_history=newest_ms is not None,
            newest_event_at=_moment(newest_ms),
            lsn=_lsn(position),
            freshness_ms=None if newest_ms is None else as_of_ms - newest_ms,
            source="postgres" if copy is None else "redis",
        )

    async def _from_redis(
        self, entity: str, entity_id: UUID, as_of: datetime
    ) -> tuple[list[Attempt], str | None] | None:
        """Members and log position of the velocity set; none unless it is there and complete."""
        pipe = self._client.pipeline(transaction=False)
        until = policy.milliseconds(as_of)
        set_key = keys.velocity(entity, str(entity_id))
        oldest = until - keys.VELOCITY_TTL_S * 1000
        pipe.zrangebyscore(set_key, f"({oldest}", until, withscores=True)
        pipe.hgetall(keys.velocity_meta(entity, str(entity_id)))
        pipe.info("server")
        try:
            members, meta, server = await pipe.execute()
        except (redis.RedisError, OSError, TimeoutError) as error:
            log.warning("Redis does not answer, features come from Postgres: %s", error)
            return None
        # A set that was filled before Redis last started may miss what was written then.
        if meta.get("complete") != server["run_id"]:
            return None
        return [policy.parse(member, score) for member, score in members], meta.get("position")


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _lsn(position: str | None) -> str | None:
    """The LSN at the end of a position, as Postgres writes it."""
    if not position:
        return None
    number = int(position.rpartition(".")[2])
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
