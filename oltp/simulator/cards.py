"""A customer's cards over the years: opened, used, stolen, disputed, billed, given back. Pure."""

from __future__ import annotations

from collections.abc import Callable

from oltp.simulator import clock, fraud, spending
from oltp.simulator.account import Account
from oltp.simulator.authorizing import Authorizer
from oltp.simulator.billing import Biller, Paying
from oltp.simulator.disputing import Disputer
from oltp.simulator.events import Clearing, Events
from oltp.simulator.issuing import Slot, Wallet
from oltp.simulator.merchants import Swipe
from oltp.simulator.people import Person
from oltp.simulator.settling import Approval, Settler
from oltp.simulator.world import THOUSAND_MINOR

SECOND_CARD = 0.25
LOST_A_YEAR = 0.02
BLOCKED_A_YEAR = 0.012
# Fraud that its holder or our own watch has not noticed after so many swipes goes on.
NOTICED_AFTER_S = (1_800, 3 * clock.DAY_S)
# A report becomes a label once it has been looked into.
LABEL_DELAY_S = (7 * clock.DAY_S, 30 * clock.DAY_S)


class CardLife:
    """One card account from its opening to its closing or the end of history."""

    def __init__(
        self,
        person: Person,
        number: int,
        span: tuple[int, int | None],
        is_verified: Callable[[int], bool],
    ) -> None:
        life, chance = person.life, person.life.chance
        self.person = person
        self.opened, self.leaves = span
        thousand = THOUSAND_MINOR[person.currency]
        self.wealth = chance.lognormvariate(0, 0.35)
        limit = chance.choice((1, 2, 3, 5, 8, 12, 20)) * thousand
        self.wallet = Wallet(life, number, person.currency, limit, self.opened)
        self.account = Account(life, self.wallet.id, person.currency, limit)
        self.events = Events(life, self.account)
        self.wallet.plan, self.wallet.tell = self.account.plan, self.events.write
        self.settler = Settler(self.account, self.events)
        self.authorizer = Authorizer(self.account, self.settler, self.events, is_verified)
        self.disputer = Disputer(self.account, self.events)
        self.biller = Biller(person, self.account, self.wallet, clock.day_of(self.opened))
        self.authorizer.on_approval = self._approved
        self.authorizer.on_fraud = self._label
        self.events.on_clearing = self._cleared

    def live(self) -> None:
        """Everything that happens to the account, in order of time."""
        for _ in range(1 + self.person.life.happens(SECOND_CARD)):
            self._open_slot()
        if self.biller.habit is Paying.NOTHING:
            self._bust_out()
        if self.leaves:
            self.account.plan(self.leaves, self._settle_up)
        self.account.live()

    @property
    def is_settled(self) -> bool:
        """Nothing is owed or held: the account may be closed."""
        return self.account.posted_minor <= 0 and self.account.held_minor == 0

    def _open_slot(self) -> None:
        life, chance = self.person.life, self.person.life.chance
        product = life.pick({"CLASSIC": 70, "GOLD": 20, "JUNIOR": 10})
        slot = self.wallet.add_slot(self.opened + 3_600, product)
        end = self.leaves - 80 * clock.DAY_S if self.leaves else life.now
        first, last = clock.day_of(self.opened + 2 * clock.DAY_S), clock.day_of(max(end, 0))
        holder = spending.Holder(
            slot.number,
            self.person.country,
            self.person.currency,
            life.world.swipes_per_year * chance.lognormvariate(-0.08, 0.4),
            self.wealth,
        )
        own = spending.plan(chance, holder, first, last)
        for swipe in own:
            self.account.plan(swipe.moment, self._swipe, swipe, slot)
        if own:
            self._misfortunes(slot, own, end)

    def _misfortunes(self, slot: Slot, own: list[Swipe], end: int) -> None:
        """Thieves, and what holders do with cards themselves."""
        life, chance = self.person.life, self.person.life.chance
        span = (self.opened + 5 * clock.DAY_S, end)
        thousand = int(THOUSAND_MINOR[self.person.currency] * self.wealth)
        for episode in fraud.episodes(chance, own, span, thousand, life.world.seed):
            self._rob(slot, episode)
        years = (end - self.opened) / (365 * clock.DAY_S)
        for share, status in ((LOST_A_YEAR, "LOST"), (BLOCKED_A_YEAR, "BLOCKED")):
            if years > 0 and chance.random() < share * years:
                moment = self.opened + int(chance.random() * (end - self.opened))
                self.account.plan(moment, self._report, slot, status, 5)

    def _rob(self, slot: Slot, episode: list[Swipe]) -> None:
        chance = self.person.life.chance
        number = episode[0].moment
        for swipe in episode:
            swipe.card, swipe.episode = slot.number, number
            self.account.plan(swipe.moment, self._swipe, swipe, slot)
        last = episode[-1]
        status = "STOLEN" if last.fraud == fraud.STOLEN_CARD else "BLOCKED"
        noticed = last.moment + chance.randint(*NOTICED_AFTER_S)
        self.account.plan(noticed, self._report, slot, status, 5)
        if last.fraud == fraud.STOLEN_CARD and chance.random() < 0.6:
            # The thief does not know yet, and tries again.
            again = Swipe(noticed + 4_000, slot.number, last.kind, last.amount_minor,
                          last.merchant, last.country, last.channel, last.fraud,
                          None, number)  # fmt: skip
            self.account.plan(again.moment, self._swipe, again, slot)

    def _bust_out(self) -> None:
        life, chance = self.person.life, self.person.life.chance
        if chance.random() < 0.3 or not self.wallet.slots:
            return
        moment = self.opened + chance.randint(60, 240) * clock.DAY_S
        for swipe in fraud.bust_out(
            chance, 0, moment, self.account.limit_minor, self.person.country
        ):
            self.account.plan(swipe.moment, self._swipe, swipe, self.wallet.slots[0])
        if moment < life.now:
            self.account.plan(moment, lambda _: self.biller.stops_paying())

    def _swipe(self, moment: int, swipe: Swipe, slot: Slot) -> None:
        if self.wallet.closed_at is None:
            self.authorizer.swipe(moment, swipe, slot)

    def _report(self, moment: int, slot: Slot, status: str, after_days: int) -> None:
        if slot.state == "ACTIVE" and self.wallet.closed_at is None:
            slot.replace(moment, status, after_days)

    def _approved(self, moment: int, approval: Approval) -> None:
        """A machine that was offline sells without asking: what it sold comes all the same."""
        is_own = approval.swipe.fraud is None
        if is_own and not self.leaves and self.person.life.chance.random() < 0.0015:
            later = moment + self.person.life.chance.randint(1, 4) * clock.DAY_S
            amount = max(1, approval.swipe.amount_minor // 2)
            self.account.plan(later, self._force, approval, amount)

    def _label(self, moment: int, authorization: str, swipe: Swipe) -> None:
        """The truth about a fraud: known weeks later, or never, and kept apart."""
        chance = self.person.life.chance
        known: int | None = moment + chance.randint(*LABEL_DELAY_S)
        if chance.random() < 0.06 or (known or 0) >= self.person.life.now:
            known = None
        episode = self.person.life.id("episode", f"{self.wallet.number}/{swipe.episode}")
        self.events.label(authorization, swipe, episode, known)

    def _force(self, moment: int, approval: Approval, amount: int) -> None:
        if self.wallet.closed_at is None:
            self.settler.force(moment, approval, amount)

    def _cleared(self, moment: int, clearing: Clearing) -> None:
        if not self.leaves:
            self.disputer.consider(moment, clearing)

    def _settle_up(self, moment: int) -> None:
        """Before leaving, what is owed is paid; what we owe is paid out."""
        account = self.account
        if self.biller.charged_off_at or account.held_minor:
            return
        if account.posted_minor > 0:
            account.owe_less(moment, "PAYMENT", account.posted_minor, by="CASH")
        elif account.posted_minor < 0:
            account.owe(moment, "WITHDRAWAL", -account.posted_minor, to="CASH")
        self.wallet.close(moment + 60)
