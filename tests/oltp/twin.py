"""One key twice: in Postgres, and as a position of the pure table; every step is taken by both."""

from __future__ import annotations

from uuid import uuid4

from schemas.codes_card import CardMessageKind, CardMessageState
from schemas.lifecycle import Effect, State, message_state
from schemas.lifecycle_position import (
    Position,
    Told,
    approve,
    decline,
    expire,
    follow,
    increase,
)
from tests.oltp.network import Card, Network, Row, message


class Twin:
    """A key of one card, known to nobody yet."""

    def __init__(self, network: Network, card: Card, key: str | None = None) -> None:
        self.network, self.card = network, card
        self.key = key or str(uuid4())
        self.position = Position()
        self.waiting: list[Told] = []

    def approve(self, amount: int) -> None:
        kind = "PURCHASE" if amount else "VERIFICATION"
        self.network.authorize(self.card, amount, self.key, message_kind=kind)
        self.decided(approve(self.position, amount))

    def decline(self) -> None:
        self.network.decline(self.card, key=self.key)
        self.decided(decline(self.position))

    def decided(self, position: Position) -> None:
        """The answer to the key has come: what waited for it is taken again."""
        self.position = position
        waiting, self.waiting = self.waiting, []
        for told in waiting:
            self._follow(told)

    def increment(self, amount: int) -> None:
        self.network.increment(self.card, self.key, amount)
        self.position = increase(self.position, amount)

    def expire(self) -> None:
        self.network.expire(self.key)
        self.position = expire(self.position)

    def message(self, told: Told) -> Row:
        """What is told, about this key, under a key of its own."""
        return message(
            told.kind,
            self.key,
            amount_minor=told.amount_minor,
            amount_is_total=told.amount_is_total,
            is_final=told.is_final,
            card_id=self.card.card_id,
            reason="FRAUD",
            merchant_id="M-1",
            mcc="5411",
            merchant_country="US",
            channel="CHIP",
        )

    def tell(self, told: Told) -> Row:
        """Tells both; they agree on what it came to, and on where that leaves the key."""
        (answer,) = self.network.apply(self.message(told))
        self.agree(told, answer)
        self.stands()
        return answer

    def agree(self, told: Told, answer: Row) -> None:
        """Follows what was told, and compares the answers."""
        before = self.position
        outcome, applied = self._follow(told)
        assert (answer["outcome"], answer["state"]) == (outcome, message_state(outcome)), (
            before,
            told,
        )
        if answer["state"] == CardMessageState.APPLIED:
            assert answer["applied_minor"] == applied, (before, told)
        if outcome == "HELD":
            self.decided(self.position)

    def stands(self) -> None:
        """State and amounts are the same in both."""
        assert self.network.standing(self.key) == self.position.state
        held, captured = self.network.rows(
            "select coalesce(ledger.held_under(s.hold_id), 0)::bigint as held,"
            " coalesce(s.captured_minor, 0) as captured from card.standing_of(%s) s",
            self.key,
        )[0].values()
        assert (held, captured) == (self.position.held_minor, self.position.captured_minor)

    def _follow(self, told: Told) -> tuple[str, int]:
        done = follow(self.position, told)
        self.position = done.position
        if done.effect is Effect.PARK:
            self.waiting.append(told)
        elif done.effect is Effect.POST_EARLY:
            left = None if told.is_final else told.amount_minor
            self.waiting.append(Told(CardMessageKind.REVERSAL, left))
        return done.outcome, done.applied_minor

    @property
    def is_known(self) -> bool:
        return self.position.state is not State.UNKNOWN
