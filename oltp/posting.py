"""Adds posted ledger entries and moves the accounts' totals by exactly those that were new."""

from __future__ import annotations

import psycopg

from oltp import copying

TABLE = "ledger.ledger_entries"
POST = """
    with posted as (
        insert into ledger.ledger_entries ({columns})
        select {columns} from stage order by effective_at, entry_id
        on conflict do nothing
        returning account_id, direction, amount_minor
    ),
    moved as (
        update card.card_accounts a
        set posted_minor = a.posted_minor + p.amount_minor, updated_at = now()
        from (
            select
                account_id,
                sum(case direction when 'DEBIT' then amount_minor else -amount_minor end)
                    as amount_minor
            from posted group by account_id
        ) p
        where a.account_id = p.account_id
    )
    select count(*) from posted
"""


def post(connection: psycopg.Connection, entries: copying.Rows) -> int:
    """Post the entries in one transaction; how many were new. All are of the bucket POSTED."""
    if not entries:
        return 0
    with connection.transaction():
        columns = copying.stage(connection, TABLE, entries)
        (added,) = copying.only_row(connection, POST, columns)
    return int(added)
