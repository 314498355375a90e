"""Rows that Redis holds copies of, one hash a row: who writes them and who reads them agree here.

A copy is stamped with its place in the log, `commit LSN.streamed.LSN.transaction` in text that
sorts as the log does, or with nothing when it was read from the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas import keys

# The field of the hash with its stamp.
POSITION = "_position"
# Who keeps them.
CAPABILITY = "cache"


@dataclass(frozen=True)
class CachedRow:
    """A table whose row becomes one hash."""

    entity: str
    id_column: str
    key: Callable[[str], str]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Stamp:
    """The place in the log of the change that a copy shows."""

    lsn: int
    is_streamed: bool
    tx_id: int | None


CACHED_ROWS = {
    cached.entity: cached
    for cached in (
        CachedRow(
            "cards",
            "card_id",
            keys.card_snapshot,
            ("account_id", "product", "status", "expires_on"),
        ),
        CachedRow(
            "card_accounts",
            "account_id",
            keys.account_snapshot,
            (
                "customer_id",
                "currency",
                "credit_limit_minor",
                "posted_minor",
                "held_minor",
                "status",
                "program_id",
            ),
        ),
        CachedRow("customers", "customer_id", keys.customer_snapshot, ("status", "country")),
    )
}


def stamped(position: str, tx_id: int | None) -> str:
    """The stamp of a change at that position: with its transaction, so that a cut can be told."""
    return position if tx_id is None else f"{position}.{tx_id}"


def stamp(text: str | None) -> Stamp | None:
    """What a stamp says; None for a copy without a place in the log."""
    if not text:
        return None
    _, streamed, lsn, *tx_id = text.split(".")
    return Stamp(int(lsn), streamed == "1", int(tx_id[0]) if tx_id else None)
