"""What is known of a card beside the ledger: messages, clearings, disputes, the truth. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oltp.simulator import clock
from oltp.simulator.rows import Row
from oltp.simulator.world import Life

if TYPE_CHECKING:
    from oltp.simulator.account import Account
    from oltp.simulator.merchants import Swipe
    from oltp.simulator.settling import Approval

EVENTS, CLEARINGS, LABELS = "card.card_events", "card.clearings", "card.fraud_labels"
EVENT_COLUMNS = (
    "card_event_id",
    "occurred_at",
    "account_id",
    "card_id",
    "authorization_id",
    "hold_id",
    "event_type",
    "amount_minor",
    "currency",
    "response_code",
    "created_at",
)
CLEARING_COLUMNS = (
    "clearing_id",
    "account_id",
    "card_id",
    "authorization_id",
    "hold_id",
    "kind",
    "amount_minor",
    "currency",
    "sequence_number",
    "is_final",
    "merchant_id",
    "mcc",
    "merchant_country",
    "network_ref",
    "entry_id",
    "cleared_at",
    "created_at",
)
HONEST_REASONS = {
    "NOT_RECEIVED": 30,
    "NOT_AS_DESCRIBED": 25,
    "DUPLICATE": 15,
    "INCORRECT_AMOUNT": 10,
    "CREDIT_NOT_PROCESSED": 10,
    "CANCELLED_RECURRING": 10,
}
# Of a dispute's status, the message that says so.
MESSAGE = {"WON": "DISPUTE_WON", "LOST": "DISPUTE_LOST"}


@dataclass(frozen=True, slots=True)
class Clearing:
    """A purchase that was posted."""

    id: str
    authorization: str | None
    card_id: str
    amount_minor: int
    fraud: str | None


class Events:
    """Writes what happened to one account's cards beside the ledger."""

    def __init__(self, life: Life, account: Account) -> None:
        self._life = life
        self._bits = life.chance.getrandbits
        self._id = account.id
        self._currency = account.currency
        self._events = life.rows.by_table[EVENTS]
        self._clearings = life.rows.by_table[CLEARINGS]
        self.on_clearing: Callable[[int, Clearing], None] = lambda moment, clearing: None

    def write(
        self,
        moment: int,
        kind: str,
        card: str | None,
        amount: int | None = None,
        authorization: str | None = None,
        hold: str | None = None,
        code: str | None = None,
    ) -> None:
        """One message."""
        at = clock.text(moment)
        currency = None if amount is None else self._currency
        self._events.append(
            (f"{self._bits(128):032x}", at, self._id, card, authorization, hold, kind,
             amount, currency, code, at)
        )  # fmt: skip

    def add(self, moment: int, kind: str, approval: Approval, amount: int) -> None:
        """A message about an approval."""
        self.write(moment, kind, approval.card_id, amount, approval.authorization, approval.hold.id)

    def clear(
        self,
        moment: int,
        kind: str,
        approval: Approval,
        amount: int,
        entry: str,
        is_final: bool,
    ) -> None:
        """Something was presented and posted (or, a refund, given back)."""
        at, id_ = clock.text(moment), f"{self._bits(128):032x}"
        swipe, number = approval.swipe, approval.clearings + 1
        approval.clearings = number
        is_forced = kind == "FORCE_POST"
        authorization = None if is_forced else approval.authorization
        hold = None if is_forced else approval.hold.id
        self._clearings.append(
            (id_, self._id, approval.card_id, authorization, hold, kind, amount, self._currency,
             number, is_final, swipe.merchant, swipe.kind.mcc, swipe.country,
             f"sim:clr:{id_}", entry, at, at)
        )  # fmt: skip
        self.write(moment, kind, approval.card_id, amount, authorization, hold)
        if kind != "REFUND":
            self.on_clearing(
                moment, Clearing(id_, authorization, approval.card_id, amount, swipe.fraud)
            )

    def dispute(self, moment: int, clearing: Clearing, entry: str) -> Row:
        """The holder objects to a purchase."""
        life, at = self._life, clock.text(moment)
        self.write(
            moment, "DISPUTE", clearing.card_id, clearing.amount_minor, clearing.authorization
        )
        return life.rows.add(
            "card.disputes",
            dispute_id=life.any_id(),
            account_id=self._id,
            card_id=clearing.card_id,
            authorization_id=clearing.authorization,
            clearing_id=clearing.id,
            reason="FRAUD" if clearing.fraud else life.pick(HONEST_REASONS),
            status="OPENED",
            amount_minor=clearing.amount_minor,
            currency=self._currency,
            provisional_entry_id=entry,
            resolution_entry_id=None,
            opened_at=at,
            resolved_at=None,
            created_at=at,
            updated_at=at,
        )

    def advance(self, moment: int, dispute: Row, status: str, entry: str | None = None) -> None:
        """The dispute is in another state; won and lost are the last ones."""
        at = clock.text(moment)
        dispute.update(status=status, updated_at=at)
        if status in MESSAGE:
            dispute.update(resolved_at=at, resolution_entry_id=entry)
        self.write(
            moment,
            MESSAGE.get(status, status),
            dispute["card_id"],
            dispute["amount_minor"],
            dispute["authorization_id"],
        )

    def label(self, authorization: str, swipe: Swipe, episode: str, known: int | None) -> None:
        """The truth about a swipe. It is kept apart, and known later or never."""
        at = clock.text(known or self._life.now)
        self._life.rows.by_table[LABELS].append(
            (authorization, swipe.fraud, episode, clock.text(known) if known else None, at)
        )


LABEL_COLUMNS = ("authorization_id", "pattern", "episode_id", "known_at", "created_at")
