"""The operational database: stored decisions, history for features, card messages to apply."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

DECISION = """
select
    authorization_id, idempotency_key, request_hash, message_kind, card_id, account_id,
    amount_minor,
    case decision when 'APPROVED' then coalesce(approved_amount_minor, amount_minor) else 0 end
        as approved_amount_minor,
    currency, network, decision, response_code, reason_code, is_stand_in, rule_hits, rule_version,
    requested_at, decided_at
from card.authorizations
where idempotency_key = %s
"""

APPLY = "select * from card.apply_messages(%s::jsonb)"

HISTORY = """
select
    authorization_id::text, amount_minor, merchant_id, merchant_country::text, decision, decided_at
from card.authorizations
where {column} = %s and decided_at > %s and decided_at <= %s
"""

Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]


class Records:
    """The questions that the gateway has, and what it tells."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def decision(self, idempotency_key: str) -> dict[str, Any] | None:
        """The stored decision of a key."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(DECISION, (idempotency_key,))
            return await cursor.fetchone()

    async def history(
        self, column: str, entity_id: str, after: datetime, until: datetime
    ) -> list[dict[str, Any]]:
        """The authorizations of a card or account (`column` says which) in (after, until]."""
        if column not in {"card_id", "account_id"}:
            raise ValueError(f"authorizations are not looked up by {column}")
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                HISTORY.format(column=column), (entity_id, after, until)
            )
            return await cursor.fetchall()

    async def apply(self, message: dict[str, Any]) -> dict[str, Any]:
        """What became of a card message, once for its key."""
        async with self._pool.connection() as connection:
            text = orjson.dumps([message]).decode()
            cursor = await connection.execute(APPLY, (text,))
            return (await cursor.fetchall())[0]

    async def ping(self) -> None:
        """Raises when the database does not answer."""
        async with self._pool.connection() as connection:
            await connection.execute("select 1")


def pool(dsn: str) -> Pool:
    """A closed pool for short reads."""
    return AsyncConnectionPool(
        dsn,
        min_size=0,
        max_size=4,
        open=False,
        timeout=3,
        # The next request tries anew at once; the pool's own pauses would outlast the outage.
        reconnect_timeout=0,
        # One that broke while nobody used it must not cost the next request its answer.
        check=AsyncConnectionPool.check_connection,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 3,
            "options": "-c statement_timeout=2000 -c timezone=UTC",
            "application_name": "millrace-gateway",
        },
        name="oltp",
    )
