"""One card account's money: holds that open and end, purchases, payments, fees. Pure.

Moments only go forward. `posted_minor` and `held_minor` follow the ledger entries made here, so
what the database computes from them is known beforehand, and no approval can pass the limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from oltp.simulator import clock
from oltp.simulator.book import Book, house
from oltp.simulator.world import Life

HOLDS = "card.holds"
HOLD_COLUMNS = (
    "hold_id",
    "authorization_id",
    "account_id",
    "amount_minor",
    "captured_amount_minor",
    "currency",
    "status",
    "expires_at",
    "created_at",
    "updated_at",
)
AMOUNT, CAPTURED, STATUS, EXPIRES_AT, UPDATED_AT = 3, 4, 6, 7, 9


class Hold:
    """A reservation that is open."""

    __slots__ = ("authorization", "captured_minor", "id", "left_at_expiry", "left_minor", "row")

    def __init__(self, id_: str, authorization: str, left_minor: int, row: list[Any]) -> None:
        self.id = id_
        self.authorization = authorization
        self.left_minor = left_minor
        self.captured_minor = 0
        self.left_at_expiry = 0
        self.row = row

    @property
    def is_open(self) -> bool:
        """Something may still be captured of it."""
        return self.row[STATUS] in ("PENDING", "PARTIALLY_CAPTURED")


class Account:
    """The account's totals, and what will still happen to it, in order of time."""

    def __init__(self, life: Life, account_id: str, currency: str, limit_minor: int) -> None:
        self.life = life
        self.id = account_id
        self.currency = currency
        self.limit_minor = limit_minor
        self.posted_minor = 0
        self.held_minor = 0
        self.book = Book(life.rows, life.chance, currency)
        self._holds = life.rows.by_table[HOLDS]
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0

    @property
    def available_minor(self) -> int:
        """What may still be approved."""
        return self.limit_minor - self.posted_minor - self.held_minor

    def plan(self, moment: int, what: Callable[..., None], *about: Any) -> None:
        """Let something happen then; what would be after the end of history does not happen."""
        if moment < self.life.now:
            self._planned += 1
            heapq.heappush(self._queue, (moment, self._planned, what, about))

    def live(self) -> None:
        """Let everything happen that is planned, and what is planned meanwhile."""
        queue = self._queue
        while queue:
            moment, _, what, about = heapq.heappop(queue)
            what(moment, *about)

    def hold(self, moment: int, authorization: str, amount: int, expires: int) -> Hold:
        """Reserve an approved amount."""
        id_, at = self.life.any_id(), clock.text(moment)
        row = [id_, authorization, self.id, amount, 0, self.currency, "PENDING",
               clock.text(expires), at, at]  # fmt: skip
        self._holds.append(row)
        self.held_minor += amount
        self.book.enter(
            "HOLD",
            moment,
            ("HELD", self.id, self.book.settlement, amount),
            authorization=authorization,
            hold=id_,
        )
        return Hold(id_, authorization, amount, row)

    def raise_hold(
        self, moment: int, hold: Hold, authorization: str, amount: int, expires: int
    ) -> None:
        """Reserve more under the same hold, by an authorization of its own."""
        hold.left_minor += amount
        hold.row[AMOUNT] += amount
        hold.row[EXPIRES_AT] = clock.text(expires)
        hold.row[UPDATED_AT] = clock.text(moment)
        self.held_minor += amount
        self.book.enter(
            "HOLD",
            moment,
            ("HELD", self.id, self.book.settlement, amount),
            authorization=authorization,
            hold=hold.id,
        )

    def release(self, moment: int, hold: Hold, amount: int, entry_type: str = "VOID") -> None:
        """Let a part of the hold go, or all that is left of it."""
        self.book.enter(
            entry_type,
            moment,
            ("HELD", self.book.settlement, self.id, amount),
            authorization=hold.authorization,
            hold=hold.id,
        )
        self.held_minor -= amount
        if entry_type == "EXPIRE":
            hold.left_at_expiry = hold.left_minor
        hold.left_minor -= amount
        if hold.left_minor == 0:
            self._end(moment, hold, "EXPIRED" if entry_type == "EXPIRE" else "REVERSED")
        else:
            hold.row[UPDATED_AT] = clock.text(moment)

    def capture(self, moment: int, hold: Hold, amount: int, is_last: bool) -> tuple[str, bool]:
        """Post a purchase against the hold; the last one releases the rest. Entry, is it more."""
        released = hold.left_minor if is_last else min(hold.left_minor, amount)
        is_more = amount > hold.left_minor
        moves = [("POSTED", self.id, self.book.settlement, amount)]
        if released:
            moves.append(("HELD", self.book.settlement, self.id, released))
        entry = self.book.enter(
            "CAPTURE",
            moment,
            *moves,
            authorization=hold.authorization,
            hold=hold.id,
            over_limit=is_more,
        )
        self.posted_minor += amount
        self.held_minor -= released
        hold.left_minor -= released
        hold.captured_minor += amount
        hold.row[CAPTURED] = hold.captured_minor
        ends = is_last or hold.left_minor == 0
        self._end(moment, hold, "CAPTURED" if ends else "PARTIALLY_CAPTURED")
        return entry, is_more

    def capture_late(self, moment: int, hold: Hold, amount: int) -> str:
        """What is presented after the hold has ended is posted all the same, and flagged."""
        self.posted_minor += amount
        hold.captured_minor += amount
        hold.row[CAPTURED], hold.row[UPDATED_AT] = hold.captured_minor, clock.text(moment)
        return self.book.enter(
            "CAPTURE",
            moment,
            ("POSTED", self.id, self.book.settlement, amount),
            authorization=hold.authorization,
            hold=hold.id,
            over_limit=True,
        )

    def owe(
        self,
        moment: int,
        entry_type: str,
        amount: int,
        to: str | None = None,
        **about: Any,
    ) -> str:
        """Post what the customer owes more, to the network unless somebody else gets it."""
        other = house(to, self.currency) if to else self.book.settlement
        self.posted_minor += amount
        return self.book.enter(entry_type, moment, ("POSTED", self.id, other, amount), **about)

    def owe_less(
        self,
        moment: int,
        entry_type: str,
        amount: int,
        by: str | None = None,
        **about: Any,
    ) -> str:
        """Post what the customer owes less, at the network's cost unless somebody else pays."""
        other = house(by, self.currency) if by else self.book.settlement
        self.posted_minor -= amount
        return self.book.enter(entry_type, moment, ("POSTED", other, self.id, amount), **about)

    @staticmethod
    def _end(moment: int, hold: Hold, status: str) -> None:
        hold.row[STATUS] = status
        hold.row[UPDATED_AT] = clock.text(moment)
