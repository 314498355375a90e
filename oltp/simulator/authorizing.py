"""Decides each swipe as the issuer would at that moment, first failing reason first. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from oltp.simulator import clock
from oltp.simulator.account import Account
from oltp.simulator.events import Events
from oltp.simulator.issuing import Slot
from oltp.simulator.merchants import Swipe
from oltp.simulator.rows import Row
from oltp.simulator.settling import Approval, Settler, expires_after_s
from schemas.codes import RESPONSE_CODE, Reason

AUTHORIZATIONS = "card.authorizations"
EMBARGOED = "KP"
NOT_FOR_JUNIORS = "7995"
# Attempts of a card in an hour; the next one is refused.
VELOCITY_PER_HOUR = 8
RULE_VERSION = "history-1"
# Who sells small things takes a part of what was asked for, and the customer pays the rest.
TAKES_PART = ("5411", "5541", "5912")
PARTIAL = ("10", "PARTIALLY_APPROVED")


class Authorizer:
    """The decisions on one account's cards."""

    def __init__(
        self,
        account: Account,
        settler: Settler,
        events: Events,
        is_verified: Callable[[int], bool],
    ) -> None:
        self._account = account
        self._events = events
        settler.ask_more = self.more
        self._settler = settler
        self._is_verified = is_verified
        self._rows = account.life.rows.by_table[AUTHORIZATIONS]
        self._attempts: dict[int, deque[int]] = {}
        # card id, UTC day -> approved count and amount.
        self.spent: dict[tuple[str, int], list[int]] = {}
        self.on_approval: Callable[[int, Approval], None] = lambda moment, approval: None
        self.on_fraud: Callable[[int, str, Swipe], None] = lambda moment, authorization, swipe: None

    def swipe(self, moment: int, swipe: Swipe, slot: Slot) -> None:
        """Answer one request; an approval is held and its ends are planned."""
        card = slot.card
        if card is None:
            return
        account = self._account
        amount = swipe.amount_minor
        approved, reason = amount, self._refusal(moment, swipe, slot)
        if reason is Reason.APPROVED and amount > 0:
            approved, reason = self._affordable(moment, swipe, card["card_id"], slot)
        is_approved = reason is Reason.APPROVED
        authorization = self._write(moment, swipe, card, approved if is_approved else 0, reason)
        if not is_approved or amount == 0:
            return
        self._count(card["card_id"], moment, approved)
        hold = account.hold(moment, authorization, approved, moment + expires_after_s(swipe))
        approval = Approval(swipe, card["card_id"], authorization, hold)
        self._settler.plan(moment, approval)
        self.on_approval(moment, approval)

    def _refusal(self, moment: int, swipe: Swipe, slot: Slot) -> Reason:
        card = slot.card or {}
        attempts = self._attempts.setdefault(swipe.card, deque())
        while attempts and attempts[0] <= moment - clock.HOUR_S:
            attempts.popleft()
        attempts.append(moment)
        is_for_adults = card["product"] == "JUNIOR" and swipe.kind.mcc == NOT_FOR_JUNIORS
        failing = (
            (slot.state != "ACTIVE", _BY_STATE.get(slot.state, Reason.CARD_NOT_ACTIVE)),
            (clock.day_of(moment) > card["expires_on"], Reason.CARD_EXPIRED),
            (not slot.account_is_active, Reason.ACCOUNT_NOT_ACTIVE),
            (not self._is_verified(moment), Reason.KYC_NOT_VALID),
            (swipe.currency is not None, Reason.CURRENCY_NOT_SUPPORTED),
            (swipe.country == EMBARGOED or is_for_adults, Reason.MERCHANT_NOT_ALLOWED),
            (len(attempts) > VELOCITY_PER_HOUR, Reason.VELOCITY_EXCEEDED),
        )
        return next((reason for fails, reason in failing if fails), Reason.APPROVED)

    def _affordable(
        self, moment: int, swipe: Swipe, card_id: str, slot: Slot
    ) -> tuple[int, Reason]:
        """What may be approved of it: all, a part where that is taken, or nothing."""
        amount, available = swipe.amount_minor, self._account.available_minor
        count, spent = self.spent.get((card_id, moment // clock.DAY_S), (0, 0))
        if amount > available:
            if swipe.kind.mcc in TAKES_PART and available > amount // 4 > 0:
                amount = available
            else:
                return 0, Reason.INSUFFICIENT_CREDIT
        if slot.limits and count >= slot.limits["count_limit"]:
            return 0, Reason.COUNT_LIMIT_EXCEEDED
        if slot.limits and spent + amount > slot.limits["amount_limit_minor"]:
            return 0, Reason.AMOUNT_LIMIT_EXCEEDED
        return amount, Reason.APPROVED

    def _count(self, card_id: str, moment: int, amount: int) -> None:
        total = self.spent.setdefault((card_id, moment // clock.DAY_S), [0, 0])
        total[0] += 1
        total[1] += amount

    def _write(self, moment: int, swipe: Swipe, card: Row, approved: int, reason: Reason) -> str:
        amount, kind = swipe.amount_minor, "PURCHASE" if swipe.amount_minor else "VERIFICATION"
        answer = (RESPONSE_CODE[reason], reason.value)
        if reason is Reason.APPROVED and approved < amount:
            answer = PARTIAL
        authorization = self._row(
            moment, swipe, card["card_id"], (kind, None, amount, approved), answer
        )
        self._events.write(
            moment,
            "AUTHORIZATION" if amount else "VERIFICATION",
            card["card_id"],
            amount,
            authorization,
            code=answer[0],
        )
        if swipe.fraud:
            self.on_fraud(moment, authorization, swipe)
        return authorization

    def more(self, moment: int, approval: Approval, amount: int) -> str:
        """The request that raises a hold."""
        return self._row(
            moment,
            approval.swipe,
            approval.card_id,
            ("INCREMENT", approval.authorization, amount, amount),
            ("00", "APPROVED"),
        )

    def _row(
        self,
        moment: int,
        swipe: Swipe,
        card_id: str,
        asked: tuple[str, str | None, int, int],
        answer: tuple[str, str],
    ) -> str:
        account, bits = self._account, self._account.life.chance.getrandbits
        kind, parent, amount, approved = asked
        code, reason = answer
        authorization, at = f"{bits(128):032x}", clock.text(moment)
        is_approved = code in ("00", "10")
        hits = "[]" if is_approved else f'["{reason}"]'
        self._rows.append(
            (authorization, f"sim:{authorization}", f"{bits(256):064x}", kind, parent, card_id,
             account.id, amount, approved if is_approved else 0, swipe.currency or account.currency,
             swipe.merchant, swipe.kind.mcc, swipe.country, swipe.channel,
             "APPROVED" if is_approved else "DECLINED", code, reason, hits,
             f'{{"available_minor": {account.available_minor}}}', RULE_VERSION, at, at, at)
        )  # fmt: skip
        return authorization


COLUMNS = (
    "authorization_id",
    "idempotency_key",
    "request_hash",
    "message_kind",
    "parent_authorization_id",
    "card_id",
    "account_id",
    "amount_minor",
    "approved_amount_minor",
    "currency",
    "merchant_id",
    "mcc",
    "merchant_country",
    "channel",
    "decision",
    "response_code",
    "reason_code",
    "rule_hits",
    "facts",
    "rule_version",
    "requested_at",
    "decided_at",
    "created_at",
)
_BY_STATE = {"LOST": Reason.CARD_LOST, "STOLEN": Reason.CARD_STOLEN}
