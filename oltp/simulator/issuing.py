"""Card accounts and the cards on them: opened, issued, blocked, lost, replaced, closed. Pure."""

from __future__ import annotations

from collections.abc import Callable

from oltp.schedule import months_after
from oltp.simulator import clock
from oltp.simulator.rows import Row
from oltp.simulator.world import THOUSAND_MINOR, Life

VALID_MONTHS = 48
NEVER_RENEWED = 0.06


class Slot:
    """What is in a holder's pocket: one card, replaced from time to time."""

    def __init__(self, wallet: Wallet, number: int, product: str, limits: Row) -> None:
        self.wallet = wallet
        self.number = number
        self.product = product
        self.limits = limits
        self.card: Row | None = None
        self.issued = 0

    @property
    def state(self) -> str:
        """The card's status at this moment of the simulation."""
        return self.card["status"] if self.card else "CLOSED"

    @property
    def account_is_active(self) -> bool:
        """Whether its account may be used."""
        return self.wallet.state == "ACTIVE"

    def issue(self, moment: int, is_first: bool = False) -> None:
        """A new card; it takes the place of the one before."""
        life, wallet = self.wallet.life, self.wallet
        issued_on = clock.day_of(moment)
        part = self.number * 100 + self.issued
        months = VALID_MONTHS
        if is_first and life.happens(0.08):
            # Made long ago by a lender before us: it runs out early.
            months = life.chance.randint(3, 15)
        at = clock.text(moment)
        self.card = life.rows.add(
            "card.cards",
            card_id=life.id("card", f"{wallet.number}/{part}"),
            account_id=wallet.id,
            external_ref=life.reference("card", f"{wallet.number}.{part}"),
            product=self.product,
            status="ACTIVE",
            issued_on=issued_on,
            expires_on=months_after(issued_on, months),
            created_at=at,
            updated_at=at,
        )
        if self.limits:
            life.rows.add(
                "card.spend_limits",
                spend_limit_id=life.id("spend_limit", f"{wallet.number}/{part}"),
                card_id=self.card["card_id"],
                period="DAY",
                currency=wallet.row["currency"],
                **self.limits,
                created_at=at,
                updated_at=at,
            )
        self.issued += 1
        wallet.tell(moment, "CARD_ISSUED", self.card["card_id"])
        if not life.happens(NEVER_RENEWED):
            end = clock.at_midnight(self.card["expires_on"]) - 12 * clock.DAY_S
            wallet.plan(end, self._renew, self.card)

    def _renew(self, moment: int, card: Row) -> None:
        if self.card is card and card["status"] == "ACTIVE" and not self.wallet.closed_at:
            self.set(moment, "CLOSED")
            self.issue(moment)

    def set(self, moment: int, status: str) -> None:
        """The card is in another state from now on."""
        if self.card and self.card["status"] not in ("CLOSED", status):
            self.card["status"] = status
            self.card["updated_at"] = clock.text(moment)
            self.wallet.tell(moment, f"CARD_{status}", self.card["card_id"])

    def replace(self, moment: int, status: str, after_days: int = 4) -> None:
        """Reported lost or stolen, or blocked by the issuer; a new one comes by mail."""
        card = self.card
        self.set(moment, status)
        self.wallet.plan(moment + after_days * clock.DAY_S, self._arrive, card)

    def _arrive(self, moment: int, card: Row) -> None:
        if self.card is card and not self.wallet.closed_at:
            self.issue(moment)


class Wallet:
    """A card account with its slots. Its balances are the ledger's: they are inserted as zero."""

    def __init__(
        self, life: Life, number: int, currency: str, limit_minor: int, opened_at: int
    ) -> None:
        self.life = life
        self.number = number
        self.id = life.id("account", number)
        self.closed_at: int | None = None
        self.slots: list[Slot] = []
        self.plan: Callable[..., None] = lambda moment, what, *about: None
        self.tell: Callable[..., None] = lambda moment, kind, card: None
        at = clock.text(opened_at)
        self.row = life.rows.add(
            "card.card_accounts",
            account_id=self.id,
            customer_id=life.id("customer"),
            external_ref=life.reference("account", number),
            currency=currency,
            credit_limit_minor=limit_minor,
            status="ACTIVE",
            opened_on=clock.day_of(opened_at),
            created_at=at,
            updated_at=at,
        )

    @property
    def state(self) -> str:
        """The account's status at this moment of the simulation."""
        return str(self.row["status"])

    def add_slot(self, moment: int, product: str) -> Slot:
        """One more card."""
        thousand, chance = THOUSAND_MINOR[self.row["currency"]], self.life.chance
        limits: Row = {}
        if chance.random() < 0.2:
            limits = {
                "count_limit": chance.choice((2, 3, 10)),
                "amount_limit_minor": thousand // chance.choice((1, 2, 4)),
            }
        slot = Slot(self, len(self.slots), product, limits)
        self.slots.append(slot)
        slot.issue(moment, is_first=True)
        return slot

    def set(self, moment: int, status: str) -> None:
        """The account is in another state from now on."""
        self.row["status"] = status
        self.row["updated_at"] = clock.text(moment)

    def freeze(self, moment: int) -> None:
        """Nothing is approved any more."""
        self.set(moment, "FROZEN")

    def unfreeze(self, moment: int) -> None:
        """What was owed has been paid."""
        self.set(moment, "ACTIVE")

    def close(self, moment: int) -> None:
        """For good, with all its cards."""
        self.closed_at = moment
        self.set(moment, "CLOSED")
        for slot in self.slots:
            slot.set(moment, "CLOSED")
