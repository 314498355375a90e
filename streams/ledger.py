"""Postgres, the system of record: decisions, messages, and the facts behind every copy.

`decide_and_hold` and `apply_messages` are one statement each and so one transaction; repeated, they
answer what was stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from schemas.features import MOST_ATTEMPTS, PRESENT_CHANNELS
from streams import ledger_reads

# The lateral reference makes Postgres set the lock timeout before it takes the first lock.
DECIDE = """
select d.request_id, d.authorization_id::text, d.account_id::text, d.decision, d.response_code,
    d.reason_code, d.approved_amount_minor, d.decided_at, d.replayed, d.conflict, d.stale,
    d.stand_in, d.card_version
from set_config('lock_timeout', %s, true) as patience,
    lateral card.decide_and_hold(case when patience is not null then %s end) as d
"""
APPLY = """
select m.* from card.apply_messages(%s) with ordinality as m order by m.ordinality
"""
# A batch without an approval may wait this long for a connection and for locks.
PATIENCE_S = 2.0
# The server ends a statement before; this is for a server that has fallen silent.
SILENCE_S = PATIENCE_S + 1
PRESENT = sorted(PRESENT_CHANNELS)

Rows = list[dict[str, Any]]


class Ledger:
    """The statements the agents need, over one pool."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[dict[str, Any]]]) -> None:
        self._pool = pool

    async def decide_and_hold(
        self, requests: Sequence[Mapping[str, Any]], until: datetime | None
    ) -> Rows:
        """Decide the batch for good. Answers in the order of the requests.

        Waits for neither connection nor lock beyond `until`, when the first approval would be late;
        it then raises, nothing is decided, and the caller judges anew.
        """
        batch = Jsonb(requests, orjson.dumps)
        async with self._pool.connection(timeout=_left_s(until)) as connection:
            lock_timeout = f"{max(1, int(_left_s(until) * 1000))}ms"
            async with asyncio.timeout(SILENCE_S):
                cursor = await connection.execute(DECIDE, (lock_timeout, batch))
                return await cursor.fetchall()

    async def apply_messages(self, messages: Sequence[Mapping[str, Any]]) -> Rows:
        """Apply each message once for its key; what became of each, in order."""
        return await self._rows(APPLY, (Jsonb(messages, orjson.dumps),))

    async def facts(self, card_ids: Sequence[str]) -> Rows:
        """What the database knows about the cards, and at which log position; not the unknown."""
        return await self._rows(ledger_reads.FACTS, (list(card_ids),))

    async def histories(self, card_ids: Sequence[str]) -> Rows:
        """The numbered decisions of the cards' last day, in order, each with its card's state."""
        arguments = {"card_ids": list(card_ids), "most": MOST_ATTEMPTS, "present": PRESENT}
        return await self._rows(ledger_reads.HISTORIES, arguments)

    async def attempts(self, column: str, ids: Sequence[str], since: datetime) -> Rows:
        """The authorizations of the cards or accounts (`column` says which) after `since`."""
        if column not in {"card_id", "account_id"}:
            raise ValueError(f"authorizations are not looked up by {column}")
        return await self._rows(ledger_reads.ATTEMPTS.format(column=column), (list(ids), since))

    async def _rows(self, statement: str, arguments: Any) -> Rows:
        async with self._pool.connection() as connection, asyncio.timeout(SILENCE_S):
            cursor = await connection.execute(statement, arguments)
            return await cursor.fetchall()


def _left_s(until: datetime | None) -> float:
    """Seconds that may still be waited; raises when there are none."""
    if until is None:
        return PATIENCE_S
    left_s = (until - datetime.now(UTC)).total_seconds()
    if left_s <= 0:
        raise TimeoutError("a deadline passed while waiting for the database")
    return min(left_s, PATIENCE_S)


def pool(dsn: str) -> AsyncConnectionPool[AsyncConnection[dict[str, Any]]]:
    """A closed pool; statements end after two seconds: a late approval is worse than none."""
    return AsyncConnectionPool(
        dsn,
        min_size=2,
        max_size=8,
        open=False,
        timeout=3,
        # The agents try anew by themselves; the pool's own pauses would outlast the outage.
        reconnect_timeout=0,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 3,
            # A network that swallows everything is noticed, too.
            "tcp_user_timeout": 3000,
            "options": "-c statement_timeout=2000 -c timezone=UTC",
            "application_name": "millrace-streams",
            # The few statements there are, from their first use on.
            "prepare_threshold": 0,
        },
        name="oltp",
    )
