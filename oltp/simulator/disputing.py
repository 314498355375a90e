"""Disputes: provisional credit, the network's decision, and who pays in the end. Pure."""

from __future__ import annotations

from oltp.simulator import clock
from oltp.simulator.account import Account
from oltp.simulator.events import Clearing, Events
from oltp.simulator.rows import Row

FRAUD_DISPUTED = 0.85
HONEST_DISPUTED = 0.004
WON_FRAUD, WON_HONEST = 0.9, 0.55


class Disputer:
    """The disputes of one account's purchases."""

    def __init__(self, account: Account, events: Events) -> None:
        self._account = account
        self._events = events
        self._chance = account.life.chance

    def consider(self, moment: int, clearing: Clearing) -> None:
        """A holder who sees a purchase that is not theirs, or not as promised, may object."""
        chance, fraud = self._chance, clearing.fraud
        if fraud == "BUST_OUT":
            return
        if chance.random() < (FRAUD_DISPUTED if fraud else HONEST_DISPUTED):
            later = moment + int(chance.uniform(2, 40) * clock.DAY_S)
            self._account.plan(later, self._open, clearing)

    def _open(self, moment: int, clearing: Clearing) -> None:
        """The holder need not pay while it is looked into."""
        account, chance = self._account, self._chance
        credit = account.owe_less(
            moment,
            "PROVISIONAL_CREDIT",
            clearing.amount_minor,
            by="DISPUTES",
            authorization=clearing.authorization,
        )
        dispute = self._events.dispute(moment, clearing, credit)
        asked = moment + int(chance.uniform(3, 12) * clock.DAY_S)
        account.plan(asked, self._charge_back, clearing, dispute, credit)

    def _charge_back(self, moment: int, clearing: Clearing, dispute: Row, credit: str) -> None:
        """The merchant's bank is asked for the money; it may object in turn."""
        chance = self._chance
        self._events.advance(moment, dispute, "CHARGEBACK")
        won = chance.random() < (WON_FRAUD if clearing.fraud else WON_HONEST)
        later = moment + int(chance.uniform(10, 45) * clock.DAY_S)
        if not won or chance.random() < 0.2:
            answered = moment + int(chance.uniform(4, 9) * clock.DAY_S)
            self._account.plan(answered, self._represent, dispute)
        self._account.plan(later, self._resolve, clearing, dispute, credit, won)

    def _represent(self, moment: int, dispute: Row) -> None:
        self._events.advance(moment, dispute, "REPRESENTMENT")

    def _resolve(
        self, moment: int, clearing: Clearing, dispute: Row, credit: str, won: bool
    ) -> None:
        """Won: the network pays us. Lost: the provisional credit is taken back."""
        account, amount = self._account, clearing.amount_minor
        if won:
            entry = account.book.charge_back(moment, amount, clearing.authorization)
            self._events.advance(moment, dispute, "WON", entry)
        else:
            entry = account.owe(
                moment,
                "CORRECTION",
                amount,
                to="DISPUTES",
                authorization=clearing.authorization,
                reverses=credit,
                over_limit=True,
            )
            self._events.advance(moment, dispute, "LOST", entry)
