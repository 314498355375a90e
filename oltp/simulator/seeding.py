"""Fills the operational tables with a made-up lender and its history; what is there stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from time import perf_counter

import psycopg

from oltp import copying
from oltp.privacy import Vault
from oltp.simulator import keys, reference, writing
from oltp.simulator.living import live
from oltp.simulator.rows import Rows
from oltp.simulator.tables import REFERENCE, TABLES
from oltp.simulator.world import World, made_id

# Customers of a transaction: few enough to hold in memory, many enough for COPY to pay.
CHUNK = 250
Progress = Callable[[str, int, int], None]


@dataclass
class Seeded:
    """Rows that were new, by table, and how long making and writing them took."""

    added: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """All rows that were new."""
        return sum(self.added.values())

    @property
    def per_second(self) -> float:
        """Rows a second, making and writing included; 0 when nothing was written."""
        return self.rows / self.seconds if self.seconds else 0.0


def seed(
    dsn: str,
    customers: int = 200,
    seed: int = 7,
    today: date | None = None,
    progress: Progress = lambda what, done, total: None,
    vault: Vault | None = None,
) -> Seeded:
    """A small lender with a short past and few swipes, in seconds; the same seed makes the same.

    `today` is the day that history ends before. The vault is the environment's unless given.
    """
    until = today or datetime.now(UTC).date()
    world = World(seed, until, years=2.0, swipes_per_year=4.0, vault=vault or keys.needed(dsn))
    return history(dsn, world, customers, progress)


def history(
    dsn: str,
    world: World,
    customers: int,
    progress: Progress = lambda what, done, total: None,
) -> Seeded:
    """Write the lives of `customers` customers; those who are there already are left alone."""
    began = perf_counter()
    seeded = Seeded(dict.fromkeys((*REFERENCE, *TABLES), 0))
    with psycopg.connect(dsn, autocommit=True) as connection:
        made = reference.rows().by_table
        for table in REFERENCE:
            seeded.added[table] = copying.add(connection, table, made[table])
        known = _known(connection, world.seed, customers)
    missing = [number for number in range(customers) if number not in known]
    done = len(known)

    if not missing:
        progress("customers", customers, customers)
        return seeded

    def written(number: int) -> None:
        nonlocal done
        done += number
        progress("customers", done, customers)

    progress("customers", done, customers)
    result = writing.write(dsn, _chunks(world, missing), written)
    for table, count in result.added.items():
        seeded.added[table] += count
    seeded.seconds = perf_counter() - began
    return seeded


def _chunks(world: World, numbers: list[int]) -> Iterator[writing.Chunk]:
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]
        rows = Rows()
        for number in some:
            live(world, number, rows)
        yield writing.chunk(len(some), rows)


def _known(connection: psycopg.Connection, seed: int, customers: int) -> set[int]:
    """The customers that have been written before: each was written whole or not at all."""
    ids = {made_id(seed, number, "customer"): number for number in range(customers)}
    found = connection.execute(
        "select replace(customer_id::text, '-', '') from customer.customers"
        " where external_ref like %s",
        (f"sim:{seed}:%",),
    )
    return {ids[row[0]] for row in found if row[0] in ids}
