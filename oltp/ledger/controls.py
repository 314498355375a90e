"""Reads the control views: each must be empty, and what one lists is what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

# View after ledger.control_, the invariant it proves, in words.
CONTROLS = {
    "unbalanced_entries": ("I6", "debits equal credits in each entry"),
    "empty_entries": ("I6", "every entry has postings"),
    "card_totals": ("I6", "card accounts stand as posted"),
    "credit_principal": ("I6", "credits owe as posted"),
    "corrections": ("I6", "corrections mirror what they correct"),
    "over_limit": ("I7", "no account went beyond its limit unless allowed"),
    "decisions": ("I8", "one decision a key, a hold for each approval"),
    "holds": ("I9", "holds stand as their entries say and end once"),
    "leaked_holds": ("I9", "no hold is open a day after it expired"),
}
SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One control: how many break it, and the first of them."""

    control: str
    invariant: str
    promise: str
    count: int
    sample: tuple[tuple[UUID, str], ...]


def check(connection: psycopg.Connection) -> Iterator[Finding]:
    """Every control in turn, all of one snapshot when the connection is in one transaction."""
    for control, (invariant, promise) in CONTROLS.items():
        view = sql.Identifier("ledger", f"control_{control}")
        found = connection.execute(
            sql.SQL("select subject_id, problem, count(*) over () from {} limit {}").format(
                view, SHOWN
            )
        ).fetchall()
        sample = tuple((subject, problem) for subject, problem, _ in found)
        yield Finding(control, invariant, promise, found[0][2] if found else 0, sample)
