"""Ledger rows of what happens to money: each entry adds up to zero in each layer. Pure."""

from __future__ import annotations

import random
from functools import cache
from hashlib import md5
from uuid import UUID

from oltp.simulator import clock
from oltp.simulator.rows import Rows

ENTRIES, POSTINGS = "ledger.entries", "ledger.postings"
ENTRY_COLUMNS = (
    "entry_id",
    "entry_type",
    "authorization_id",
    "hold_id",
    "over_limit_allowed",
    "reverses_entry_id",
    "effective_at",
    "created_at",
)
POSTING_COLUMNS = (
    "posting_id",
    "entry_id",
    "ledger_account_id",
    "layer",
    "direction",
    "amount_minor",
    "currency",
    "created_at",
)
# Layer, account that is debited, account that is credited, amount.
Move = tuple[str, str, str, int]


@cache
def house(kind: str, currency: str) -> str:
    """The id of one of the house's own accounts."""
    return UUID(md5(f"{kind}:{currency}".encode(), usedforsecurity=False).hexdigest()).hex


class Book:
    """Entries and postings of one currency."""

    def __init__(self, rows: Rows, chance: random.Random, currency: str) -> None:
        self._entries = rows.by_table[ENTRIES]
        self._postings = rows.by_table[POSTINGS]
        self._bits = chance.getrandbits
        self.currency = currency
        self.settlement = house("SETTLEMENT", currency)
        self._last, self._in_a_row = 0, 0

    def house(self, kind: str) -> str:
        """One of the house's accounts in this currency."""
        return house(kind, self.currency)

    def enter(
        self,
        entry_type: str,
        moment: int,
        *moves: Move,
        authorization: str | None = None,
        hold: str | None = None,
        over_limit: bool = False,
        reverses: str | None = None,
    ) -> str:
        """One entry with the postings of its moves; the entry's id."""
        bits, currency, effective = self._bits, self.currency, clock.text(moment)
        at = self._recorded(moment, effective)
        entry = f"{bits(128):032x}"
        self._entries.append(
            (entry, entry_type, authorization, hold, over_limit, reverses, effective, at)
        )
        for layer, debited, credited, amount in moves:
            self._postings.append(
                (f"{bits(128):032x}", entry, debited, layer, "DEBIT", amount, currency, at)
            )
            self._postings.append(
                (f"{bits(128):032x}", entry, credited, layer, "CREDIT", amount, currency, at)
            )
        return entry

    def _recorded(self, moment: int, text: str) -> str:
        """When the journal got it: entries of one second follow each other, a microsecond apart."""
        if moment != self._last:
            self._last, self._in_a_row = moment, 0
            return text
        self._in_a_row += 1
        return f"{text[:-3]}.{self._in_a_row:06}+00"

    def recover(self, moment: int, amount: int) -> str:
        """Cash for what was already given up."""
        cash, income = (house(kind, self.currency) for kind in ("CASH", "RECOVERY_INCOME"))
        return self.enter("RECOVERY", moment, ("POSTED", cash, income, amount))

    def charge_back(self, moment: int, amount: int, authorization: str | None) -> str:
        """The network pays for a dispute that was won."""
        disputes = house("DISPUTES", self.currency)
        return self.enter(
            "CHARGEBACK",
            moment,
            ("POSTED", self.settlement, disputes, amount),
            authorization=authorization,
        )
