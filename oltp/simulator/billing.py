"""A card account's month: statement, interest, fees, payment, and what follows without. Pure."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from oltp.schedule import months_after
from oltp.simulator import clock
from oltp.simulator.account import Account
from oltp.simulator.issuing import Wallet
from oltp.simulator.people import Person
from oltp.simulator.servicing import recovery
from oltp.simulator.world import THOUSAND_MINOR

MONTHLY_RATE_PERCENT = (14, 17, 19, 22, 24)
PAID_AFTER_DAYS = 22
# Missed payments in a row until the account is frozen, and until it is charged off (180 days).
FROZEN_AFTER, CHARGED_OFF_AFTER = 3, 6


class Paying(StrEnum):
    """How a holder treats the statement."""

    ALL = "all"
    SOME = "some"
    MINIMUM = "minimum"
    CARELESS = "careless"  # forgets one in four
    NOTHING = "nothing"  # from some month on


PAYING = {
    Paying.ALL: 52,
    Paying.SOME: 26,
    Paying.MINIMUM: 12,
    Paying.CARELESS: 8,
    Paying.NOTHING: 2,
}


class Biller:
    """Statements of one account, one a month from the day it was opened."""

    def __init__(self, person: Person, account: Account, wallet: Wallet, opened: date) -> None:
        self._person = person
        self._account = account
        self._wallet = wallet
        self._opened = opened
        self._chance = account.life.chance
        self.habit: Paying = account.life.pick(PAYING)
        self._turns_after = self._chance.randint(3, 20)
        self._rate = self._chance.choice(MONTHLY_RATE_PERCENT)
        self._month = 0
        self._carried = False
        self._missed = 0
        self._balance = 0
        self._paid = True
        self.charged_off_at: int | None = None
        self._plan_next()

    def stops_paying(self) -> None:
        """From now on nothing is paid any more."""
        self.habit, self._turns_after = Paying.NOTHING, 0

    def _plan_next(self) -> None:
        self._month += 1
        day = months_after(self._opened, self._month)
        self._account.plan(clock.at_midnight(day) + 2 * clock.HOUR_S, self._statement)

    def _statement(self, moment: int) -> None:
        if self.charged_off_at or self._wallet.closed_at:
            return
        account = self._account
        if not self._paid:
            self._miss(moment)
            if self.charged_off_at:
                return
        owed = account.posted_minor
        if self._carried and owed > 0:
            interest = owed * self._rate // 1200
            if interest:
                account.owe(moment, "INTEREST", interest, to="INTEREST_INCOME", over_limit=True)
        self._balance = account.posted_minor
        self._paid = self._balance <= 0
        if not self._paid:
            self._plan_payment(moment)
        self._plan_next()

    def _plan_payment(self, moment: int) -> None:
        chance, balance = self._chance, self._balance
        least = min(balance, max(balance // 30, THOUSAND_MINOR[self._account.currency] // 40))
        share = {
            Paying.ALL: 1.0,
            Paying.SOME: chance.choice((0.1, 0.25, 0.5, 1.0)),
            Paying.MINIMUM: 0.0,
            Paying.CARELESS: 0.0 if chance.random() < 0.25 else chance.choice((0.3, 1.0)),
            Paying.NOTHING: 1.0,
        }[self.habit]
        forgets = self.habit is Paying.CARELESS and share == 0.0
        if forgets or (self.habit is Paying.NOTHING and self._month > self._turns_after):
            return
        amount = max(least, int(balance * share))
        day = chance.randint(PAID_AFTER_DAYS - 14, PAID_AFTER_DAYS) * clock.DAY_S
        self._account.plan(moment + day + chance.randint(0, 40_000), self.pay, amount)

    def pay(self, moment: int, amount: int) -> None:
        """Money arrives: never more than is owed."""
        amount = min(amount, self._account.posted_minor)
        if amount > 0 and not self.charged_off_at:
            self._account.owe_less(moment, "PAYMENT", amount, by="CASH")
            self._carried = amount < self._balance
            self._paid, self._missed = True, 0
            if self._wallet.state == "FROZEN":
                self._wallet.unfreeze(moment)

    def _miss(self, moment: int) -> None:
        account = self._account
        self._missed += 1
        self._carried = True
        if self._missed >= CHARGED_OFF_AFTER:
            self._charge_off(moment)
            return
        fee = THOUSAND_MINOR[account.currency] // 40
        account.owe(moment, "FEE", fee, to="FEE_INCOME", over_limit=True)
        if self._missed >= FROZEN_AFTER and self._wallet.state == "ACTIVE":
            self._wallet.freeze(moment)

    def _charge_off(self, moment: int) -> None:
        """Open-end credit is given up at 180 days; some of it may be recovered later."""
        account, chance = self._account, self._chance
        self.charged_off_at = moment
        lost = account.posted_minor
        if lost > 0:
            account.owe_less(moment, "CHARGE_OFF", lost, by="CREDIT_LOSS")
        self._wallet.close(moment)
        if lost > 0 and chance.random() < 0.4:
            for _ in range(chance.randint(1, 3)):
                moment += chance.randint(30, 120) * clock.DAY_S
                account.plan(moment, self._recover, max(1, int(lost * chance.uniform(0.03, 0.2))))

    def _recover(self, moment: int, amount: int) -> None:
        """The ledger and the collectors' own list."""
        recovery(self._person, self._account.book, moment, amount, account_id=self._account.id)
