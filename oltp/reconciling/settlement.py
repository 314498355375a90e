"""Compares positions, ledger and clearing files, and says what differs and who looks after it.

The comparison is ledger.reconcile_settlement; its breaks stay until they are explained or gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import psycopg

RUN = """
select accounts, lines, broken from ledger.settlement_runs where settlement_run_id = %s
"""
BREAKS = """
select settlement_break_id, kind, subject, account_id, currency, file_minor, ledger_minor,
    position_minor, problem, state, owner, explanation, first_seen_at, now() - first_seen_at
from ledger.settlement_breaks
where state <> 'RESOLVED' and (%(owner)s::text is null or owner = %(owner)s)
order by state desc, first_seen_at, kind, subject
"""


@dataclass(frozen=True)
class Compared:
    """How much was compared, and how much of it differs."""

    accounts: int
    lines: int
    broken: int


@dataclass(frozen=True)
class Break:
    """Something that differs."""

    id: UUID
    kind: str
    subject: str
    account_id: UUID | None
    currency: str | None
    file_minor: int | None
    ledger_minor: int | None
    position_minor: int | None
    problem: str
    state: str
    owner: str
    explanation: str | None
    since: datetime
    age: timedelta


def compare(connection: psycopg.Connection) -> Compared:
    """Compare all three in one snapshot; opens, keeps and resolves breaks."""
    (run,) = connection.execute("select ledger.reconcile_settlement()").fetchall()
    (found,) = connection.execute(RUN, run).fetchall()
    return Compared(*found)


def breaks(connection: psycopg.Connection, owner: str | None = None) -> Iterator[Break]:
    """What differs now, the open ones first, the oldest first; of one owner when named."""
    for row in connection.execute(BREAKS, {"owner": owner}):
        yield Break(*row)


def assign(
    connection: psycopg.Connection, break_id: UUID, owner: str, explanation: str | None = None
) -> bool:
    """Say who looks after a break and, when it is known, why it is there; False: it is gone."""
    row = connection.execute(
        "select ledger.assign_settlement_break(%s, %s, %s)", (break_id, owner, explanation)
    ).fetchone()
    return bool(row and row[0])
