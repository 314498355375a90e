"""Fills the operational tables with the made-up lender; a second call adds only what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import psycopg

from oltp import copying, posting
from oltp.simulator import outbox
from oltp.simulator.lending import lend
from oltp.simulator.population import TABLES, People, everybody, populate

Progress = Callable[[str, int, int], None]


@dataclass
class Seeded:
    """Rows that were new, by table."""

    added: dict[str, int] = field(default_factory=dict)


def seed(
    dsn: str,
    customers: int = 200,
    seed: int = 7,
    today: date | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Seeded:
    """Make `customers` customers with all that is theirs; the same seed makes the same ones.

    `today` is what dates are counted from.
    """
    people = People()
    for maker in everybody(customers, seed, today or datetime.now(UTC).date()):
        chance = maker.chance
        currency = populate(people, maker, chance)
        lend(people, maker, chance, currency)
    seeded = Seeded()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in TABLES:
            rows = people.rows[table]
            progress(table, 0, len(rows))
            with connection.transaction():
                if table == "credit.applications":
                    outbox.announce(connection, rows)
                seeded.added[table] = copying.add(connection, table, rows)
            progress(table, len(rows), len(rows))
        seeded.added[posting.TABLE] = posting.post(connection, people.entries)
    return seeded
