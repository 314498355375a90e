"""Postgres, the system of record: decide and hold, and the facts behind every copy.

`decide_and_hold` is one statement and so one transaction; repeated, it answers what was stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

# The lateral reference makes Postgres set the lock timeout before it takes the first lock.
DECIDE = """
select d.*
from set_config('lock_timeout', %s, true) as patience,
    lateral card.decide_and_hold(case when patience is not null then %s::jsonb end) as d
"""
# A batch without an approval may wait this long for a connection and for locks.
PATIENCE_S = 2.0

FACTS = """
select
    c.card_id::text, c.status as card_status, c.product, c.expires_on,
    a.account_id::text, a.status as account_status, a.currency::text, a.credit_limit_minor,
    a.posted_minor, a.held_minor,
    u.customer_id::text, u.status as customer_status, u.country::text,
    (
        select coalesce(jsonb_agg(jsonb_build_object(
            'kyc_record_id', k.kyc_record_id, 'verification_type', k.verification_type,
            'status', k.status, 'expires_at', k.expires_at, 'updated_at', k.updated_at)), '[]')
        from kyc.kyc_records k where k.customer_id = u.customer_id
    ) as kyc_records,
    array(
        select count(x.authorization_id)
        from unnest(%(windows_s)s::integer[]) with ordinality as w (seconds, n)
        left join card.authorizations x
            on x.card_id = c.card_id and x.decided_at <= %(now)s
            and x.decided_at > %(now)s - make_interval(secs => w.seconds)
        group by w.n order by w.n
    ) as attempts
from card.cards c
join card.card_accounts a on a.account_id = c.account_id
join customer.customers u on u.customer_id = a.customer_id
where c.card_id = any(%(card_ids)s::uuid[])
"""

HISTORY = """
select
    authorization_id::text, card_id::text, account_id::text, amount_minor, merchant_id,
    merchant_country::text, decision, decided_at
from card.authorizations
where {column} = any(%s::uuid[]) and decided_at > %s
"""

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
        batch = orjson.dumps(list(requests)).decode()
        async with self._pool.connection(timeout=_left_s(until)) as connection:
            lock_timeout = f"{max(1, int(_left_s(until) * 1000))}ms"
            cursor = await connection.execute(DECIDE, (lock_timeout, batch))
            return await cursor.fetchall()

    async def facts(self, card_ids: Sequence[str], windows_s: Sequence[int], now: datetime) -> Rows:
        """What the database knows about the cards, with attempts per window; not the unknown."""
        return await self._rows(
            FACTS, {"card_ids": list(card_ids), "windows_s": list(windows_s), "now": now}
        )

    async def history(self, column: str, ids: Sequence[str], since: datetime) -> Rows:
        """The authorizations of the cards or accounts (`column` says which) after `since`."""
        if column not in {"card_id", "account_id"}:
            raise ValueError(f"authorizations are not looked up by {column}")
        return await self._rows(HISTORY.format(column=column), (list(ids), since))

    async def _rows(self, statement: str, arguments: Any) -> Rows:
        async with self._pool.connection() as connection:
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
        min_size=1,
        max_size=4,
        open=False,
        timeout=3,
        # The agents try anew by themselves; the pool's own pauses would outlast the outage.
        reconnect_timeout=0,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 3,
            "options": "-c statement_timeout=2000 -c timezone=UTC",
            "application_name": "millrace-streams",
        },
        name="oltp",
    )
