"""Whether a case may be decided: its wait for risk and compliance, pure.

The two come from different places in any order, more than once, late or never. A case is READY when
both are done, REFUSED when one refuses and there is nothing to take back, COMPENSATING while what
the other one had done is still standing (until the case itself is rejected: COMPENSATED), EXPIRED
when its deadline passed while it waited, CLOSED when it was rejected before both were done. The
same signals give the same answer, however they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

DAY_US = 24 * 60 * 60 * 1_000_000
# From the submission of the case on.
DEADLINE_DAYS = 30
RISK, COMPLIANCE, CASE = "RISK", "COMPLIANCE", "CASE"
DONE, REFUSED, PENDING = "DONE", "REFUSED", "PENDING"
# The kind of a signal of a case that has been submitted; its made_at_us is when.
SUBMITTED = "SUBMITTED"
# Without an answer on sanctions nobody is compliant, whatever else was searched.
NEEDED = "SANCTIONS"
WAITING, READY, EXPIRED, CLOSED = "WAITING", "READY", "EXPIRED", "CLOSED"
COMPENSATING, COMPENSATED = "COMPENSATING", "COMPENSATED"


@dataclass(frozen=True)
class Signal:
    """A change of something that the case waits for, or of the case.

    `order` is the change's place among all changes of all tables. `subject` is the row; `kind` what
    it is an answer to (a later row of the same kind replaces an earlier one); `status` is None when
    the row is gone from the case.
    """

    order: tuple[int, ...]
    side: str
    subject: str
    kind: str
    status: str | None
    made_at_us: int
    at_us: int


@dataclass
class Readiness:
    """Where the wait of one case stands. `undo` names the sides whose work must be taken back."""

    state: str = WAITING
    risk: str = PENDING
    compliance: str = PENDING
    # When both were done for the first time, and when the wait ends or ended.
    ready_at_us: int | None = None
    deadline_at_us: int | None = None
    undo: list[str] = field(default_factory=list)
    # Approved although the two had not both been done by then.
    was_hasty: bool = False

    @property
    def is_late(self) -> bool:
        """Ready, but after the deadline."""
        ready, deadline = self.ready_at_us, self.deadline_at_us
        return ready is not None and deadline is not None and ready > deadline


def fold(signals: Iterable[Signal], now_us: int, deadline_days: int = DEADLINE_DAYS) -> Readiness:
    """The wait after all these signals, at a moment."""
    answers: dict[tuple[str, str], Signal] = {}
    case, made = None, Readiness()
    for signal in sorted(set(signals), key=lambda s: (s.order, s.side, s.subject, s.status or "")):
        if signal.side == CASE:
            case = signal.status
            if signal.kind == SUBMITTED:
                made.deadline_at_us = signal.made_at_us + deadline_days * DAY_US
        else:
            answers[signal.side, signal.subject] = signal
            made.risk, made.compliance = _risk(answers.values()), _compliance(answers.values())
            if made.risk == made.compliance == DONE and made.ready_at_us is None:
                made.ready_at_us = signal.at_us
        if signal.side == CASE and case == "APPROVED":
            made.was_hasty = made.was_hasty or made.ready_at_us is None
    _conclude(made, case, now_us)
    return made


def _conclude(made: Readiness, case: str | None, now_us: int) -> None:
    sides = {RISK: made.risk, COMPLIANCE: made.compliance}
    if REFUSED in sides.values():
        made.undo = [side for side, state in sides.items() if state == DONE]
        is_over = case == "REJECTED"
        made.state = (COMPENSATED if is_over else COMPENSATING) if made.undo else REFUSED
    elif made.risk == made.compliance == DONE:
        made.state = READY
    elif case == "REJECTED":
        made.state = CLOSED
    elif made.deadline_at_us is not None and now_us > made.deadline_at_us:
        made.state = EXPIRED


def _risk(answers: Iterable[Signal]) -> str:
    last = _newest(answers, RISK)
    states = {"COMPLETED": DONE, "REJECTED": REFUSED}
    found = [states.get(signal.status or "", PENDING) for signal in last.values()]
    return found[0] if found else PENDING


def _compliance(answers: Iterable[Signal]) -> str:
    """A confirmed match with sanctions refuses; any other answer is one, and PENDING is none."""
    last = _newest(answers, COMPLIANCE)
    is_answered = {
        kind: signal.status in ("CLEAR", "CONFIRMED_MATCH") for kind, signal in last.items()
    }
    if any(
        kind.startswith(NEEDED) and signal.status == "CONFIRMED_MATCH"
        for kind, signal in last.items()
    ):
        return REFUSED
    has_needed = any(kind.startswith(NEEDED) for kind in last)
    return DONE if has_needed and all(is_answered.values()) else PENDING


def _newest(answers: Iterable[Signal], side: str) -> dict[str, Signal]:
    """The newest row of each kind on a side; rows that are gone count no more."""
    newest: dict[str, Signal] = {}
    for signal in answers:
        if signal.side != side or signal.status is None:
            continue
        held = newest.get(signal.kind)
        if held is None or (held.made_at_us, held.subject) < (signal.made_at_us, signal.subject):
            newest[signal.kind] = signal
    return newest
