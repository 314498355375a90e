"""What becomes of an approval: raised, released in part, cleared once or often, expired. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oltp.simulator import clock
from oltp.simulator.account import EXPIRES_AT, STATUS, Account, Hold
from oltp.simulator.events import Events
from oltp.simulator.merchants import Settling, Swipe

EXPIRES_AFTER_S = 7 * clock.DAY_S
# Hotels and car rentals hold for as long as a stay may last.
STAY_EXPIRES_AFTER_S = 31 * clock.DAY_S
REVERSED, PARTLY_REVERSED, FORGOTTEN = 0.022, 0.015, 0.012
LATE_CLEARING = 0.3
REFUNDED = 0.022


@dataclass(slots=True)
class Approval:
    """An approved swipe on its way to the books."""

    swipe: Swipe
    card_id: str
    authorization: str
    hold: Hold
    clearings: int = 0


def expires_after_s(swipe: Swipe) -> int:
    """How long a hold of such a merchant lasts."""
    return STAY_EXPIRES_AFTER_S if swipe.kind.settling is Settling.STAY else EXPIRES_AFTER_S


class Settler:
    """Plans what happens to each approval, and does it when its time comes."""

    def __init__(self, account: Account, events: Events) -> None:
        self._account = account
        self._events = events
        self._chance = account.life.chance
        # Writes the request for an increment; its authorization's id.
        self.ask_more: Callable[[int, Approval, int], str] = lambda moment, approval, amount: ""

    def plan(self, moment: int, approval: Approval) -> None:
        """Decide how this one ends. Every hold has an end planned: it is never forgotten by us."""
        account, chance = self._account, self._chance
        lasts = expires_after_s(approval.swipe)
        account.plan(moment + lasts + 60, self._expire, approval)
        dice = chance.random()
        if approval.swipe.fraud is None and dice < REVERSED:
            account.plan(moment + chance.randint(60, 90_000), self._reverse, approval)
            return
        if dice < REVERSED + FORGOTTEN:
            if chance.random() < LATE_CLEARING:
                late = moment + lasts + chance.randint(1, 6) * clock.DAY_S
                account.plan(late, self._clear_late, approval)
            return
        if dice < REVERSED + FORGOTTEN + PARTLY_REVERSED:
            account.plan(moment + chance.randint(600, 60_000), self._reverse_partly, approval)
        self._plan_clearing(moment, approval)

    def _plan_clearing(self, moment: int, approval: Approval) -> None:
        account, chance = self._account, self._chance
        style = approval.swipe.kind.settling
        soon = moment + int(chance.uniform(0.6, 3.2) * clock.DAY_S)
        if style is Settling.STAY:
            nights = chance.randint(1, 12)
            for night in range(1, nights):
                if chance.random() < 0.15:
                    account.plan(moment + night * clock.DAY_S, self._increase, approval)
            leave = moment + nights * clock.DAY_S + chance.randint(0, 40_000)
            factor = chance.choice((1.0, 1.0, 1.0, 0.9, 1.08))
            account.plan(leave, self._clear, approval, factor, True)
        elif style is Settling.TIP and chance.random() < 0.4:
            account.plan(soon, self._clear, approval, chance.uniform(1.05, 1.22), True)
        elif style is Settling.FUEL and chance.random() < 0.6:
            account.plan(soon, self._clear, approval, chance.uniform(0.35, 0.98), True)
        elif style is Settling.PARTS and chance.random() < 0.3:
            parts = chance.choice((2, 2, 3))
            for part in range(1, parts + 1):
                later = soon + (part - 1) * int(chance.uniform(0.3, 1.4) * clock.DAY_S)
                account.plan(later, self._clear, approval, 1 / parts, part == parts)
        else:
            account.plan(soon, self._clear, approval, 1.0, True)

    def _increase(self, moment: int, approval: Approval) -> None:
        """The stay got longer: reserve more, if it is there."""
        hold, account = approval.hold, self._account
        amount = max(1, hold.left_minor // 5)
        if not hold.is_open or amount > account.available_minor:
            return
        authorization = self.ask_more(moment, approval, amount)
        expires = moment + expires_after_s(approval.swipe)
        account.raise_hold(moment, hold, authorization, amount, expires)
        self._events.add(moment, "INCREMENT", approval, amount)
        # The first expiry was of the shorter stay.
        account.plan(moment + expires_after_s(approval.swipe) + 60, self._expire, approval)

    def _reverse(self, moment: int, approval: Approval) -> None:
        hold = approval.hold
        if hold.is_open and not hold.captured_minor:
            amount = hold.left_minor
            self._account.release(moment, hold, amount)
            self._events.add(moment, "REVERSAL", approval, amount)

    def _reverse_partly(self, moment: int, approval: Approval) -> None:
        hold = approval.hold
        amount = int(hold.left_minor * self._chance.uniform(0.1, 0.6))
        if hold.is_open and not hold.captured_minor and amount:
            self._account.release(moment, hold, amount)
            self._events.add(moment, "PARTIAL_REVERSAL", approval, amount)

    def _expire(self, moment: int, approval: Approval) -> None:
        hold = approval.hold
        if hold.is_open and clock.text(moment) > hold.row[EXPIRES_AT]:
            amount = hold.left_minor
            self._account.release(moment, hold, amount, "EXPIRE")
            self._events.add(moment, "EXPIRY", approval, amount)

    def _clear(self, moment: int, approval: Approval, factor: float, is_last: bool) -> None:
        """The merchant presents a part, the whole or more."""
        hold, account = approval.hold, self._account
        if not hold.is_open:
            return
        whole = hold.left_minor + hold.captured_minor
        amount = max(1, round(whole * factor))
        if is_last and factor < 1 and hold.captured_minor:
            # The last of several parts is what is left.
            amount = hold.left_minor
        elif not is_last:
            amount = min(amount, hold.left_minor - 1)
        if amount <= 0:
            return
        entry, is_more = account.capture(moment, hold, amount, is_last)
        kind = "OVER_CAPTURE" if is_more else "CLEARING"
        self._events.clear(moment, kind, approval, amount, entry, is_last)
        self._after(moment, approval, amount)

    def _clear_late(self, moment: int, approval: Approval) -> None:
        """It expired, and is presented all the same: it posts, and is flagged."""
        if approval.hold.row[STATUS] != "EXPIRED":
            return
        amount = approval.hold.left_at_expiry
        entry = self._account.capture_late(moment, approval.hold, amount)
        self._events.clear(moment, "LATE_CLEARING", approval, amount, entry, True)
        self._after(moment, approval, amount)

    def force(self, moment: int, approval: Approval, amount: int) -> None:
        """Posted without having been asked for."""
        entry = self._account.owe(moment, "PURCHASE", amount, over_limit=True)
        self._events.clear(moment, "FORCE_POST", approval, amount, entry, True)
        self._after(moment, approval, amount)

    def _after(self, moment: int, approval: Approval, amount: int) -> None:
        """Some of it comes back."""
        chance = self._chance
        if approval.swipe.fraud is None and chance.random() < REFUNDED:
            back = amount if chance.random() < 0.7 else max(1, amount // 2)
            later = moment + int(chance.uniform(2, 25) * clock.DAY_S)
            self._account.plan(later, self._refund, approval, back)

    def _refund(self, moment: int, approval: Approval, amount: int) -> None:
        entry = self._account.owe_less(
            moment, "REFUND", amount, authorization=approval.authorization
        )
        self._events.clear(moment, "REFUND", approval, amount, entry, True)
