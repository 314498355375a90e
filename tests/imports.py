"""What tests of imports share: a vault, a way to run one, and a digest of what it left behind."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

from oltp import importing, privacy

VAULT = privacy.Vault({1: b"k" * 32}, b"i" * 32)
TABLES = (
    "customer.customers", "customer.subject_keys", "customer.account_holders",
    "card.card_accounts", "card.cards", "card.authorizations", "card.clearings",
    "credit.active_credits", "credit.payments", "ledger.accounts", "ledger.entries",
    "ledger.postings", "ledger.statement_lines", "kyc.watchlists", "kyc.watchlist_entries",
    "ops.import_runs", "ops.import_rejections",
)  # fmt: skip


def bring(database, mapping: str | Path, *places: Path, dry_run: bool = False) -> importing.Report:
    """Run one import as the application."""
    return importing.run(database.app, mapping, list(places), lambda: VAULT, dry_run=dry_run)


def digests(database, ignoring: tuple[str, ...] = ()) -> dict[str, tuple[int, str]]:
    """Rows of each table and a digest over all of them; `ignoring` are columns left out."""
    found = {}
    with psycopg.connect(database.admin) as connection:
        for table in TABLES:
            query = sql.SQL(
                "select count(*), md5(string_agg(line, ',' order by line)) from"
                " (select (to_jsonb(t) - %s::text[])::text as line from {} t) l"
            ).format(sql.Identifier(*table.split(".")))
            found[table] = connection.execute(query, (list(ignoring),)).fetchone()
    return found
