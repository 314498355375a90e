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
        select c.customer_id, c.status, exists (
            select from kyc.aml_checks k join kyc.aml_matches m using (aml_check_id)
            where k.customer_id = c.customer_id and m.status = 'TRUE_POSITIVE') as is_sanctioned
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
select c.customer_id, exists (
    select from kyc.aml_checks k join kyc.aml_matches m using (aml_check_id)
    where k.customer_id = c.customer_id and m.status = 'TRUE_POSITIVE') as is_sanctioned
from customer.customers c
where c.customer_id = any(%(customer_ids)s::uuid[])
    or c.customer_id in (
        select k.customer_id from kyc.aml_checks k
        where k.aml_check_id = any(%(check_ids)s::uuid[]))
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

    async def screened(self, customer_ids: Sequence[str], check_ids: Sequence[str]) -> list[Row]:
        """These customers and those of these checks: whether any check found a true match."""
        arguments = {"customer_ids": list(customer_ids), "check_ids": list(check_ids)}
        return await self._rows(SCREENED, arguments)

    async def _rows(self, statement: str, arguments: Any) -> list[Row]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, arguments)
            return await cursor.fetchall()
