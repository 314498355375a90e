"""Lives for tests: a world with keys of its own, and the rows of some customers."""

from __future__ import annotations

from datetime import date
from functools import cache

from oltp.privacy import Vault
from oltp.simulator import tables
from oltp.simulator.living import live
from oltp.simulator.rows import Row, Rows
from oltp.simulator.world import World

UNTIL = date(2026, 3, 31)
VAULT = Vault({1: b"k" * 32}, b"i" * 32)


def world(seed: int = 7, years: float = 3.0, swipes: float = 24.0, until: date = UNTIL) -> World:
    return World(seed, until, years, swipes, VAULT)


@cache
def lives(first: int, last: int, seed: int = 7) -> Rows:
    made = Rows()
    for number in range(first, last):
        live(world(seed), number, made)
    return made


def dicts(rows: Rows, table: str) -> list[Row]:
    """A table's rows by column."""
    columns = tables.COLUMNS.get(table, ())
    return [
        row if isinstance(row, dict) else dict(zip(columns, row, strict=True))
        for row in rows.by_table[table]
    ]


def values(rows: Rows, table: str, column: str) -> set:
    return {row[column] for row in dicts(rows, table)}
