"""Amounts moved along the table of schemas/lifecycle.py: one key, one position. Pure.

`follow` is what a message does to a position. It is the model that Postgres is held against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.codes_card import CardMessageKind, CardMessageState
from schemas.codes_card import MessageOutcome as To
from schemas.lifecycle import DISPUTES, TABLE, DisputeState, Effect, Signal, State


@dataclass(frozen=True)
class Told:
    """What a message says of amounts. A reversal without one is of everything."""

    kind: CardMessageKind
    amount_minor: int | None = None
    amount_is_total: bool = False
    is_final: bool = True


@dataclass(frozen=True)
class Position:
    """What a key names, with its amounts: `promised` is what its request was approved for,
    `captured` what was cleared under its hold, `cleared` whatever was presented of it, `returned`
    what came back or is in dispute, `posted` what all this moved on the account."""

    state: State = State.UNKNOWN
    promised_minor: int = 0
    held_minor: int = 0
    captured_minor: int = 0
    cleared_minor: int = 0
    returned_minor: int = 0
    posted_minor: int = 0
    advised_minor: int | None = None
    dispute: DisputeState = DisputeState.NONE
    disputed_minor: int = 0

    @property
    def returnable_minor(self) -> int:
        """What was cleared and has neither come back nor is in dispute."""
        return self.cleared_minor - self.returned_minor


@dataclass(frozen=True)
class Followed:
    """Where a message led."""

    position: Position
    outcome: To
    applied_minor: int = 0
    effect: Effect = Effect.NOTHING


def approve(position: Position, amount_minor: int) -> Position:
    """The key's own request is approved; of what is known already this is a repeat."""
    if position.state is not State.UNKNOWN:
        return position
    state = State.PENDING if amount_minor else State.VERIFIED
    return replace(position, state=state, promised_minor=amount_minor, held_minor=amount_minor)


def decline(position: Position) -> Position:
    """The key's own request is declined."""
    unknown = position.state is State.UNKNOWN
    return replace(position, state=State.DECLINED) if unknown else position


def signal(position: Position, told: Told) -> Signal:
    """The message, measured against the position; KeyError for one about a dispute."""
    return _MEASURES[told.kind](position, told)


def follow(position: Position, told: Told) -> Followed:
    """What the message does to the position."""
    if told.kind not in _MEASURES:
        return _follow_dispute(position, told)
    step = TABLE[position.state][signal(position, told)]
    amount = told.amount_minor or 0
    after = replace(position, state=step.state)
    if told.kind is CardMessageKind.ADVICE and step.message_state is CardMessageState.APPLIED:
        after = replace(after, advised_minor=amount)
        if position.state is State.UNKNOWN:
            after = replace(after, promised_minor=amount)
    moved = 0
    match step.effect:
        case Effect.RESERVE:
            moved = amount - position.promised_minor
            after = replace(after, held_minor=position.held_minor + moved)
        case Effect.RELEASE:
            moved = _freed(position, told)
            after = replace(after, held_minor=position.held_minor - moved)
        case Effect.CAPTURE:
            moved = amount
            freed = position.held_minor if told.is_final else min(amount, position.held_minor)
            after = replace(
                after,
                held_minor=position.held_minor - freed,
                captured_minor=position.captured_minor + amount,
            )
        case Effect.POST | Effect.POST_EARLY:
            moved = amount
        case Effect.CREDIT:
            moved = amount
            is_of_it = position.state is not State.UNKNOWN
            after = replace(
                after,
                posted_minor=position.posted_minor - amount,
                returned_minor=position.returned_minor + amount * is_of_it,
            )
    if step.effect in (Effect.CAPTURE, Effect.POST, Effect.POST_EARLY):
        is_of_it = told.kind is CardMessageKind.CLEARING
        after = replace(
            after,
            posted_minor=position.posted_minor + amount,
            cleared_minor=position.cleared_minor + amount * is_of_it,
        )
    return Followed(after, step.outcome, moved, step.effect)


def expire(position: Position) -> Position:
    """The hold's time is over."""
    step = TABLE[position.state].get(Signal.EXPIRE)
    if step is None or step.effect is Effect.NOTHING:
        return position
    return replace(position, state=step.state, held_minor=0)


def increase(position: Position, added_minor: int) -> Position:
    """An increment that was approved; where that is no step, nothing changes."""
    step = TABLE[position.state][Signal.INCREMENT]
    added_minor *= step.effect is Effect.RESERVE
    return replace(position, held_minor=position.held_minor + added_minor)


def _freed(position: Position, told: Told) -> int:
    """What the message would release of what is held."""
    held, amount = position.held_minor, told.amount_minor
    if told.kind is CardMessageKind.ADVICE:
        # Refused to the caller: nothing of it is left, whatever else has raised it.
        return min(held, position.promised_minor - amount) if amount else held
    if not amount:
        return held
    if told.amount_is_total:
        return max(0, held - max(0, amount - position.captured_minor))
    return min(held, amount)


def _reversal(position: Position, told: Told) -> Signal:
    freed = _freed(position, told)
    if not freed:
        return Signal.REVERSE_NOTHING
    return Signal.REVERSE_ALL if freed == position.held_minor else Signal.REVERSE_PART


def _clearing(position: Position, told: Told) -> Signal:
    held, amount = position.held_minor, told.amount_minor or 0
    if amount > held:
        return Signal.CLEAR_MORE
    return Signal.CLEAR_LAST if told.is_final or amount == held else Signal.CLEAR_PART


def _force_post(position: Position, told: Told) -> Signal:
    return Signal.FORCE_POST


def _refund(position: Position, told: Told) -> Signal:
    if position.state is State.UNKNOWN:
        return Signal.REFUND_ALONE
    is_covered = (told.amount_minor or 0) <= position.returnable_minor
    return Signal.REFUND if is_covered else Signal.REFUND_MORE


def _advice(position: Position, told: Told) -> Signal:
    amount = told.amount_minor or 0
    if position.advised_minor is not None:
        is_same = amount == position.advised_minor
        return Signal.ADVISE_AGAIN if is_same else Signal.ADVISE_OTHERWISE
    if amount == position.promised_minor:
        return Signal.ADVISE_SAME
    if amount > position.promised_minor:
        return Signal.ADVISE_MORE
    freed = _freed(position, told)
    return Signal.ADVISE_NONE if freed == position.held_minor else Signal.ADVISE_LESS


_MEASURES = {
    CardMessageKind.REVERSAL: _reversal,
    CardMessageKind.CLEARING: _clearing,
    CardMessageKind.FORCE_POST: _force_post,
    CardMessageKind.REFUND: _refund,
    CardMessageKind.ADVICE: _advice,
}


def _follow_dispute(position: Position, told: Told) -> Followed:
    step = DISPUTES[position.dispute][told.kind]
    after = replace(position, dispute=step.state)
    amount = position.disputed_minor
    match step.outcome:
        # One that is OPENED has its credit already.
        case To.CREDITED if position.dispute is not DisputeState.OPENED:
            return _credit(position, after, told)
        case To.LOST:
            after = replace(
                after,
                returned_minor=position.returned_minor - amount,
                posted_minor=position.posted_minor + amount,
            )
            return Followed(after, step.outcome, amount, Effect.POST)
        case To.CREDITED | To.WON:
            return Followed(after, step.outcome, amount)
    return Followed(after, step.outcome)


def _credit(position: Position, after: Position, told: Told) -> Followed:
    """The provisional credit of a chargeback, if there is anything to dispute."""
    amount = told.amount_minor or position.returnable_minor
    if position.state is State.UNKNOWN:
        return Followed(position, To.ORIGINAL_NOT_FOUND)
    if not 0 < amount <= position.returnable_minor:
        return Followed(position, To.EXCEEDS_CLEARED)
    after = replace(
        after,
        disputed_minor=amount,
        returned_minor=position.returned_minor + amount,
        posted_minor=position.posted_minor - amount,
    )
    return Followed(after, To.CREDITED, amount, Effect.CREDIT)
