"""What stand-in copies are rebuilt from: pages of the system of record, and the epochs' numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM

PAGE = 1000
PAGES = {
    CARD: """
        select card_id, account_id, status, expires_on from card.cards
        where %(after)s::uuid is null or card_id > %(after)s::uuid
        order by card_id limit %(most)s
    """,
    ACCOUNT: """
        select account_id, customer_id, program_id, currency, status, credit_limit_minor,
            posted_minor, held_minor
        from card.card_accounts
        where %(after)s::uuid is null or account_id > %(after)s::uuid
        order by account_id limit %(most)s
    """,
    CUSTOMER: """
        select c.customer_id, c.status, coalesce((
            select s.status = 'CONFIRMED_MATCH' from kyc.aml_checks s
            where s.customer_id = c.customer_id and s.check_type = 'SANCTIONS'
                and s.status in ('CONFIRMED_MATCH', 'CLEAR')
            order by s.checked_at desc, s.updated_at desc limit 1
        ), false) as is_sanctioned
        from customer.customers c
        where %(after)s::uuid is null or c.customer_id > %(after)s::uuid
        order by c.customer_id limit %(most)s
    """,
    PROGRAM: """
        select program_id, stand_in_amount_minor, stand_in_count from card.programs
        where %(after)s::text is null or program_id > %(after)s::text
        order by program_id limit %(most)s
    """,
}
SCREENED = """
select c.customer_id, coalesce((
    select s.status = 'CONFIRMED_MATCH' from kyc.aml_checks s
    where s.customer_id = c.customer_id and s.check_type = 'SANCTIONS'
        and s.status in ('CONFIRMED_MATCH', 'CLEAR')
    order by s.checked_at desc, s.updated_at desc limit 1
), false) as is_sanctioned
from customer.customers c
where c.customer_id = any(%s::uuid[])
"""

Row = dict[str, Any]
Pool = AsyncConnectionPool[AsyncConnection[Row]]


class Records:
    """The questions stand-in has."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def next_epoch(self) -> int:
        """A number that no rebuild had."""
        rows = await self._rows("select nextval('card.redis_epochs') as epoch", None)
        return int(rows[0]["epoch"])

    async def pages(self, entity: str) -> AsyncIterator[list[Row]]:
        """All rows of an entity in pages, each as it is when it is read."""
        after = None
        while True:
            rows = await self._rows(PAGES[entity], {"after": after, "most": PAGE})
            if rows:
                yield rows
                after = str(rows[-1][f"{entity}_id"])
            if len(rows) < PAGE:
                return

    async def screened(self, customer_ids: Sequence[str]) -> list[Row]:
        """Whether the latest answer about sanctions confirmed a match, for each customer."""
        return await self._rows(SCREENED, (list(customer_ids),))

    async def _rows(self, statement: str, arguments: Any) -> list[Row]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, arguments)
            return await cursor.fetchall()
