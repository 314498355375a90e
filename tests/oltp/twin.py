"""One key twice: in Postgres, and as a position of the pure table; every step is taken by both."""

from __future__ import annotations

from uuid import uuid4

from schemas.codes_card import CardMessageKind, CardMessageState, MessageOutcome
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

    def tell_together(self, several: list[Told]) -> list[tuple[Row, Row]]:
        """Tells all in one batch; each message and its answer, save those that had to wait."""
        messages = [self.message(told) for told in several]
        answers = self.network.apply(*messages)
        pairs = list(zip(messages, answers, strict=True))
        waited = [
            self._follow_in_batch(told, row) for told, row in zip(several, answers, strict=True)
        ]
        return [pair for pair, has_waited in zip(pairs, waited, strict=True) if not has_waited]

    def agree(self, told: Told, answer: Row) -> None:
        """Follows what was told, and compares the answers."""
        before = self.position
        outcome, applied = self._follow(told)
        said = (answer["outcome"], answer["state"])
        assert said == (outcome, message_state(outcome)), (before, told)
        if answer["state"] == CardMessageState.APPLIED:
            assert answer["applied_minor"] == applied, (before, told)
        if outcome is MessageOutcome.HELD:
            self.decided(self.position)

    def stands(self) -> None:
        """State and amounts are the same in both."""
        all_stand(self.network, [self])

    def _follow_in_batch(self, told: Told, answer: Row) -> bool:
        """Whether it had to wait: then what came later in its batch may have let it go, and the
        answer says how that ended."""
        has_to_wait = follow(self.position, told).effect is Effect.PARK
        if has_to_wait:
            self._follow(told)
        else:
            self.agree(told, answer)
        return has_to_wait

    def _follow(self, told: Told) -> tuple[MessageOutcome, int]:
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


def all_stand(network: Network, twins: list[Twin]) -> None:
    """Each is in the same state and has the same amounts in both."""
    found = network.rows(
        "select k.key, s.state, coalesce(s.captured_minor, 0) as captured,"
        " coalesce(ledger.held_under(s.hold_id), 0) as held"
        " from unnest(%s::text[]) as k (key) cross join card.standing_of(k.key) as s",
        [twin.key for twin in twins],
    )
    assert {row["key"]: (row["state"], row["held"], row["captured"]) for row in found} == {
        twin.key: (twin.position.state, twin.position.held_minor, twin.position.captured_minor)
        for twin in twins
    }
