"""Live changes of cards and their holds, through the ledger's own functions."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from oltp.simulator.scene import Scene

OPEN_HOLDS = """
    select hold_id from card.holds where status in ('PENDING', 'PARTIALLY_CAPTURED')
    order by created_at, hold_id limit 200
"""


def hold_captured(scene: Scene) -> int:
    """A merchant settles: the hold, a part of it or a little more becomes a posted purchase."""
    hold = scene.any(OPEN_HOLDS)
    found = hold and scene.one(
        "select h.authorization_id, h.account_id, h.amount_minor - h.captured_amount_minor,"
        " h.currency, a.card_id, a.merchant_id, a.mcc, a.merchant_country"
        " from card.holds h join card.authorizations a using (authorization_id)"
        " where hold_id = %s",
        hold,
    )
    if not found:
        return 0
    left = max(1, found[2])
    dice = scene.chance.random()
    amount, is_final = left, True
    if dice < 0.15 and left > 1:
        amount, is_final = left // 2, False
    elif dice < 0.25:
        amount = left + max(1, left // 10)
    key = f"sim:{uuid4()}"
    row = scene.one("select card.capture_hold(%s, %s, %s, %s)", hold, amount, key, is_final)
    _clearing(scene, found, (hold, amount, is_final), ("OVER_CAPTURE" if amount > left
              else "CLEARING", key, row[0] if row else None))  # fmt: skip
    return 1


def hold_reversed(scene: Scene) -> int:
    """A merchant lets a hold go, or a part of it."""
    hold = scene.any(OPEN_HOLDS)
    if hold is None:
        return 0
    row = scene.one("select amount_minor / 2 from card.holds where hold_id = %s"
                    " and status = 'PENDING' and amount_minor > 1", hold)  # fmt: skip
    part = row[0] if row and scene.chance.random() < 0.2 else None
    done = scene.one(
        "select card.void_hold(%s, least(%s::bigint, nullif(ledger.held_under(%s), 0)), %s)",
        hold, part, hold, f"sim:{uuid4()}",
    )  # fmt: skip
    return int(bool(done and done[0]))


def holds_expired(scene: Scene) -> int:
    """What no merchant has asked for in time is released; one hold runs out of it now."""
    hold = scene.any(OPEN_HOLDS)
    if hold is None:
        return 0
    scene.do(
        "update card.holds set expires_at = now(), updated_at = now()"
        " where hold_id = %s and status in ('PENDING', 'PARTIALLY_CAPTURED')",
        hold,
    )
    row = scene.one("select card.expire_holds()")
    return row[0] if row else 0


def card_paid(scene: Scene) -> int:
    """A holder pays all or half of what is owed on a card account."""
    account = scene.any(
        "select account_id from card.card_accounts where posted_minor > 1"
        " and external_ref like 'sim:%%' order by account_id limit 500"
    )
    row = account and scene.one(
        "select posted_minor from card.card_accounts where account_id = %s for no key update",
        account,
    )
    if not row or row[0] <= 1:
        return 0
    amount = row[0] if scene.chance.random() < 0.6 else row[0] // 2
    scene.one("select ledger.post_payment(%s, %s, %s)", account, amount, f"sim:{uuid4()}")
    return 1


def refund(scene: Scene) -> int:
    """A merchant gives a purchase back."""
    clearing = scene.any(
        "select clearing_id from card.clearings where kind in ('CLEARING', 'OVER_CAPTURE')"
        " order by cleared_at desc, clearing_id limit 200"
    )
    found = clearing and scene.one(
        "select authorization_id, account_id, amount_minor, currency, card_id, merchant_id, mcc,"
        " merchant_country from card.clearings where clearing_id = %s",
        clearing,
    )
    if not found:
        return 0
    key = f"sim:{uuid4()}"
    row = scene.one("select ledger.post_refund(%s, %s, %s)", found[1], found[2], key)
    _clearing(scene, found, (None, found[2], True), ("REFUND", key, row[0] if row else None))
    return 1


def card_blocked(scene: Scene) -> int:
    """A customer blocks a card."""
    card = scene.any(
        "select card_id from card.cards where status = 'ACTIVE' and external_ref like 'sim:%%'"
        " order by card_id"
    )
    row = card and scene.one(
        "update card.cards set status = 'BLOCKED', updated_at = now()"
        " where card_id = %s and status = 'ACTIVE' returning account_id",
        card,
    )
    if not row:
        return 0
    _event(scene, "CARD_BLOCKED", row[0], card)
    scene.announce("card.blocked", card, account_id=str(row[0]), reason="by its holder")
    return 1


def card_deleted(scene: Scene) -> int:
    """A card that was never used is removed; its id is unknown from now on."""
    card = scene.any(
        "select card_id from card.cards c where external_ref like 'sim:%%'"
        " and not exists (select from card.authorizations a where a.card_id = c.card_id)"
        " order by card_id"
    )
    scene.do("delete from card.spend_limits where card_id = %s", card)
    return scene.do("delete from card.cards where card_id = %s", card)


def _clearing(
    scene: Scene,
    found: tuple[Any, ...],
    what: tuple[UUID | None, int, bool],
    posted: tuple[str, str, UUID | None],
) -> None:
    """The clearing beside its ledger entry, and the message of it."""
    authorization, account, _, currency, card, merchant, mcc, country = found
    hold, amount, is_final = what
    kind, key, entry = posted
    scene.do(
        "insert into card.clearings (clearing_id, account_id, card_id, authorization_id, hold_id,"
        " kind, amount_minor, currency, is_final, merchant_id, mcc, merchant_country,"
        " network_ref, entry_id, cleared_at) values (gen_random_uuid(), %s, %s, %s, %s, %s, %s,"
        " %s, %s, %s, %s, %s, %s, %s, now())",
        account, card, authorization, hold, kind, amount, currency, is_final, merchant, mcc,
        country, key, entry,
    )  # fmt: skip
    _event(scene, kind, account, card, authorization, amount, currency)


def _event(
    scene: Scene,
    kind: str,
    account: UUID,
    card: UUID | None,
    authorization: UUID | None = None,
    amount: int | None = None,
    currency: str | None = None,
) -> None:
    scene.do(
        "insert into card.card_events (card_event_id, occurred_at, account_id, card_id,"
        " authorization_id, event_type, amount_minor, currency)"
        " values (gen_random_uuid(), now(), %s, %s, %s, %s, %s, %s)",
        account, card, authorization, kind, amount, currency,
    )  # fmt: skip
