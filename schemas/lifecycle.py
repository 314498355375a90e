"""The life of an authorization as one table: in each state, what each message does and comes to.

A `Signal` is a message measured against what is held, promised and cleared; `TABLE[state][signal]`
is the step. What is missing cannot happen: where nothing is held, a presentment is always for more.
The functions of oltp/migrations/0009.card_message* are the same machine in SQL; a test walks all
cells of both. schemas/lifecycle_position.py moves amounts by it.

Each message is applied once for its key, so a repeated one is no signal at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.codes_card import CardMessageKind, CardMessageState
from schemas.codes_card import MessageOutcome as To


class State(StrEnum):
    """How what a key names stands; from PENDING on it is its hold's status."""

    UNKNOWN = "UNKNOWN"
    DECLINED = "DECLINED"
    # Approved, and nothing was held for it.
    VERIFIED = "VERIFIED"
    PENDING = "PENDING"
    PARTIALLY_CAPTURED = "PARTIALLY_CAPTURED"
    CAPTURED = "CAPTURED"
    REVERSED = "REVERSED"
    EXPIRED = "EXPIRED"


OPEN = (State.PENDING, State.PARTIALLY_CAPTURED)


class Signal(StrEnum):
    """A message by what it would do."""

    INCREMENT = "INCREMENT"
    EXPIRE = "EXPIRE"
    # Some of what is held is given back, all of it, or nothing is there to give back.
    REVERSE_PART = "REVERSE_PART"
    REVERSE_ALL = "REVERSE_ALL"
    REVERSE_NOTHING = "REVERSE_NOTHING"
    # Less is presented than is held and more is to come; it is the last; it is more than is held.
    CLEAR_PART = "CLEAR_PART"
    CLEAR_LAST = "CLEAR_LAST"
    CLEAR_MORE = "CLEAR_MORE"
    FORCE_POST = "FORCE_POST"
    # Of what was cleared and has not come back; of more; of something that is not known.
    REFUND = "REFUND"
    REFUND_MORE = "REFUND_MORE"
    REFUND_ALONE = "REFUND_ALONE"
    # A stand-in told the caller what we did, more, less, or what leaves nothing held.
    ADVISE_SAME = "ADVISE_SAME"
    ADVISE_MORE = "ADVISE_MORE"
    ADVISE_LESS = "ADVISE_LESS"
    ADVISE_NONE = "ADVISE_NONE"
    # It told so before under another key, or told something else.
    ADVISE_AGAIN = "ADVISE_AGAIN"
    ADVISE_OTHERWISE = "ADVISE_OTHERWISE"


class Effect(StrEnum):
    """What a step does to the ledger."""

    NOTHING = "NOTHING"
    # Held: more, or less.
    RESERVE = "RESERVE"
    RELEASE = "RELEASE"
    # Posted from what is held, posted without it, given back.
    CAPTURE = "CAPTURE"
    POST = "POST"
    CREDIT = "CREDIT"
    # Posted without it, and a release waits for the hold that may still come.
    POST_EARLY = "POST_EARLY"
    # The message waits for what it is about.
    PARK = "PARK"
    # A decision is written down that somebody else has taken.
    RECORD = "RECORD"


@dataclass(frozen=True)
class Step:
    """One cell: the state afterwards, what moves, and what the message came to."""

    state: State
    effect: Effect
    outcome: To

    @property
    def message_state(self) -> CardMessageState:
        """What becomes of the message."""
        return message_state(self.outcome)


_REFUSALS = frozenset(list(To)[list(To).index(To.INVALID_AMOUNT) :])


def message_state(outcome: To) -> CardMessageState:
    """What becomes of a message that came to this."""
    if outcome is To.WAITING:
        return CardMessageState.PARKED
    if outcome is To.NEVER_AUTHORIZED:
        return CardMessageState.LAPSED
    return CardMessageState.REFUSED if outcome in _REFUSALS else CardMessageState.APPLIED


def _force_post(state: State) -> Step:
    """The network presents it without saying for what: it is owed, and no hold is touched."""
    return Step(state, Effect.POST, To.FORCE_POSTED)


def _always(state: State) -> dict[Signal, Step]:
    """What does not depend on the state, once there is an answer to the key."""
    return {
        Signal.FORCE_POST: _force_post(state),
        Signal.ADVISE_AGAIN: Step(state, Effect.NOTHING, To.NO_EFFECT),
        Signal.ADVISE_OTHERWISE: Step(state, Effect.NOTHING, To.ALREADY_ADVISED),
    }


def _refunds(state: State) -> dict[Signal, Step]:
    """Money back for something known. More than was cleared is refused: it is a second refund far
    more often than a generous merchant, and whoever means it sends it without an original."""
    return {
        Signal.REFUND: Step(state, Effect.CREDIT, To.REFUNDED),
        Signal.REFUND_MORE: Step(state, Effect.NOTHING, To.EXCEEDS_CLEARED),
    }


def _open(state: State) -> dict[Signal, Step]:
    """While something is held."""
    return {
        Signal.INCREMENT: Step(state, Effect.RESERVE, To.RAISED),
        Signal.EXPIRE: Step(State.EXPIRED, Effect.RELEASE, To.EXPIRED),
        Signal.REVERSE_PART: Step(state, Effect.RELEASE, To.PARTLY_REVERSED),
        Signal.REVERSE_ALL: Step(State.REVERSED, Effect.RELEASE, To.REVERSED),
        # What shall stay authorized is all there is.
        Signal.REVERSE_NOTHING: Step(state, Effect.NOTHING, To.NO_EFFECT),
        Signal.CLEAR_PART: Step(State.PARTIALLY_CAPTURED, Effect.CAPTURE, To.CLEARED),
        Signal.CLEAR_LAST: Step(State.CAPTURED, Effect.CAPTURE, To.CLEARED),
        Signal.CLEAR_MORE: Step(State.CAPTURED, Effect.CAPTURE, To.OVER_CAPTURED),
        Signal.ADVISE_SAME: Step(state, Effect.NOTHING, To.NO_EFFECT),
        Signal.ADVISE_MORE: Step(state, Effect.RESERVE, To.RAISED),
        Signal.ADVISE_LESS: Step(state, Effect.RELEASE, To.LOWERED),
        Signal.ADVISE_NONE: Step(State.REVERSED, Effect.RELEASE, To.RELEASED),
        **_refunds(state),
        **_always(state),
    }


def _ended(state: State, cleared: To, contradicted: To) -> dict[Signal, Step]:
    """After the last of the hold was released: it never opens again."""
    return {
        Signal.INCREMENT: Step(state, Effect.NOTHING, To.ORIGINAL_ENDED),
        Signal.EXPIRE: Step(state, Effect.NOTHING, To.NO_EFFECT),
        # What is captured is given back by a refund; what is released is what was wanted.
        Signal.REVERSE_NOTHING: Step(state, Effect.NOTHING, contradicted),
        # The network settles it all the same.
        Signal.CLEAR_MORE: Step(state, Effect.CAPTURE, cleared),
        Signal.ADVISE_SAME: Step(state, Effect.NOTHING, To.NO_EFFECT),
        Signal.ADVISE_MORE: Step(state, Effect.NOTHING, To.NO_EFFECT),
        Signal.ADVISE_NONE: Step(state, Effect.NOTHING, contradicted),
        **_refunds(state),
        **_always(state),
    }


def _without_hold(state: State, reversal: Step, clearing: Step) -> dict[Signal, Step]:
    """Decided, and nothing was ever held."""
    return {
        Signal.INCREMENT: Step(state, Effect.NOTHING, To.ORIGINAL_NOT_FOUND),
        Signal.REVERSE_NOTHING: reversal,
        Signal.CLEAR_MORE: clearing,
        Signal.ADVISE_SAME: Step(state, Effect.NOTHING, To.NO_EFFECT),
        # What a stand-in promised is held, under the advice's own authorization.
        Signal.ADVISE_MORE: Step(State.PENDING, Effect.RESERVE, To.HELD),
        **_refunds(state),
        **_always(state),
    }


TABLE: Mapping[State, Mapping[Signal, Step]] = {
    State.UNKNOWN: {
        Signal.INCREMENT: Step(State.UNKNOWN, Effect.NOTHING, To.ORIGINAL_NOT_FOUND),
        Signal.REVERSE_NOTHING: Step(State.UNKNOWN, Effect.PARK, To.WAITING),
        Signal.CLEAR_MORE: Step(State.UNKNOWN, Effect.POST_EARLY, To.FORCE_POSTED),
        Signal.REFUND_ALONE: Step(State.UNKNOWN, Effect.CREDIT, To.REFUNDED),
        # The answer to the key is from now on what its caller was told.
        Signal.ADVISE_SAME: Step(State.DECLINED, Effect.RECORD, To.RECORDED),
        Signal.ADVISE_MORE: Step(State.PENDING, Effect.RESERVE, To.HELD),
        Signal.FORCE_POST: _force_post(State.UNKNOWN),
    },
    # The merchant acts on an approval that we do not know of: its advice may be under way.
    State.DECLINED: _without_hold(
        State.DECLINED,
        reversal=Step(State.DECLINED, Effect.PARK, To.WAITING),
        clearing=Step(State.DECLINED, Effect.POST_EARLY, To.OVER_CAPTURED),
    ),
    State.VERIFIED: _without_hold(
        State.VERIFIED,
        reversal=Step(State.VERIFIED, Effect.NOTHING, To.NO_EFFECT),
        clearing=Step(State.VERIFIED, Effect.POST, To.OVER_CAPTURED),
    ),
    State.PENDING: _open(State.PENDING),
    State.PARTIALLY_CAPTURED: _open(State.PARTIALLY_CAPTURED),
    State.CAPTURED: _ended(State.CAPTURED, To.OVER_CAPTURED, To.ALREADY_CAPTURED),
    State.REVERSED: _ended(State.REVERSED, To.CLEARED_LATE, To.NO_EFFECT),
    State.EXPIRED: _ended(State.EXPIRED, To.CLEARED_LATE, To.NO_EFFECT),
}


class DisputeState(StrEnum):
    """How the dispute of an original stands; what has none is NONE."""

    NONE = "NONE"
    OPENED = "OPENED"
    CHARGEBACK = "CHARGEBACK"
    REPRESENTMENT = "REPRESENTMENT"
    WON = "WON"
    LOST = "LOST"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True)
class DisputeStep:
    """One cell of DISPUTES: the dispute afterwards, and what the message came to."""

    state: DisputeState
    outcome: To


_CHARGEBACK, _REPRESENTMENT = CardMessageKind.CHARGEBACK, CardMessageKind.REPRESENTMENT
_WON, _LOST = CardMessageKind.DISPUTE_WON, CardMessageKind.DISPUTE_LOST


def _undisputed(state: DisputeState) -> dict[CardMessageKind, DisputeStep]:
    """A chargeback credits the holder, if so much was cleared and has not come back."""
    return {
        _CHARGEBACK: DisputeStep(DisputeState.CHARGEBACK, To.CREDITED),
        _REPRESENTMENT: DisputeStep(state, To.NO_DISPUTE),
        _WON: DisputeStep(state, To.NO_DISPUTE),
        _LOST: DisputeStep(state, To.NO_DISPUTE),
    }


def _disputed(state: DisputeState, representment: To) -> dict[CardMessageKind, DisputeStep]:
    """Won: the network pays DISPUTES back. Lost: the credit is corrected away."""
    return {
        _CHARGEBACK: DisputeStep(state, To.ALREADY_DISPUTED),
        _REPRESENTMENT: DisputeStep(DisputeState.REPRESENTMENT, representment),
        _WON: DisputeStep(DisputeState.WON, To.WON),
        _LOST: DisputeStep(DisputeState.LOST, To.LOST),
    }


def _resolved(state: DisputeState) -> dict[CardMessageKind, DisputeStep]:
    """A dispute ends once."""
    return {
        _CHARGEBACK: DisputeStep(state, To.ALREADY_DISPUTED),
        _REPRESENTMENT: DisputeStep(state, To.DISPUTE_ENDED),
        _WON: DisputeStep(state, To.DISPUTE_ENDED),
        _LOST: DisputeStep(state, To.DISPUTE_ENDED),
    }


DISPUTES: Mapping[DisputeState, Mapping[CardMessageKind, DisputeStep]] = {
    DisputeState.NONE: _undisputed(DisputeState.NONE),
    # Opened by the holder, who has the credit already.
    DisputeState.OPENED: _undisputed(DisputeState.OPENED),
    DisputeState.CHARGEBACK: _disputed(DisputeState.CHARGEBACK, To.REPRESENTED),
    DisputeState.REPRESENTMENT: _disputed(DisputeState.REPRESENTMENT, To.NO_EFFECT),
    DisputeState.WON: _resolved(DisputeState.WON),
    DisputeState.LOST: _resolved(DisputeState.LOST),
    # Taken back by the holder: it may be disputed again, and nothing else.
    DisputeState.WITHDRAWN: {
        **_resolved(DisputeState.WITHDRAWN),
        _CHARGEBACK: DisputeStep(DisputeState.CHARGEBACK, To.CREDITED),
    },
}
