"""A case waits until risk and compliance are both done, whichever comes first."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.projections.readiness import (
    CASE,
    COMPLIANCE,
    DAY_US,
    RISK,
    Readiness,
    Signal,
    fold,
)

NOW = 100 * DAY_US


def case(place: int, status: str, submitted: int | None = 80) -> Signal:
    kind = "OPEN" if submitted is None else "SUBMITTED"
    return Signal((place, 1, place), CASE, "k", kind, status, (submitted or 0) * DAY_US, place)


def risk(place: int, status: str | None, row: str = "r") -> Signal:
    return Signal((place, 1, place), RISK, row, "RISK", status, 0, place)


def search(
    place: int, status: str | None, kind: str = "SANCTIONS", row: str = "s", made: int = 0
) -> Signal:
    return Signal((place, 1, place), COMPLIANCE, row, kind, status, made, place)


def state(*signals: Signal, now: int = NOW) -> str:
    return fold(signals, now).state


OPENED = case(1, "PENDING_REVIEW")


def test_either_may_come_first() -> None:
    first = fold([OPENED, risk(2, "COMPLETED"), search(3, "CLEAR")], NOW)
    other = fold([OPENED, search(2, "CLEAR"), risk(3, "COMPLETED")], NOW)
    assert first.state == other.state == "READY"
    assert first.ready_at_us == other.ready_at_us == 3


def test_one_alone_is_waited_for_until_the_deadline() -> None:
    assert state(OPENED, risk(2, "COMPLETED")) == "WAITING"
    assert state(OPENED, search(2, "CLEAR")) == "WAITING"
    late = 111 * DAY_US
    assert state(OPENED, risk(2, "COMPLETED"), now=late) == "EXPIRED"
    assert state(case(1, "DRAFT", None), risk(2, "COMPLETED"), now=late) == "WAITING"


def test_ready_after_the_deadline_is_ready_and_late() -> None:
    after = 120 * DAY_US
    done = Signal((3, 1, 3), RISK, "r", "RISK", "COMPLETED", 0, after)
    made = fold([OPENED, search(2, "CLEAR"), done], after + 1)
    assert (made.state, made.is_late) == ("READY", True)


def test_no_answer_is_not_an_answer() -> None:
    done = risk(2, "COMPLETED")
    for silent in ("PENDING", "FAILED", "POTENTIAL_MATCH"):
        assert state(OPENED, done, search(3, silent)) == "WAITING"
    assert state(OPENED, done, search(3, "CLEAR", "PEP")) == "WAITING"
    pep = search(4, "PENDING", "PEP", "p")
    assert state(OPENED, done, search(3, "CLEAR"), pep) == "WAITING"


def test_a_confirmed_pep_is_an_answer_and_a_confirmed_sanction_a_refusal() -> None:
    done, clear = risk(2, "COMPLETED"), search(3, "CLEAR")
    assert state(OPENED, done, clear, search(4, "CONFIRMED_MATCH", "PEP", "p")) == "READY"
    assert state(OPENED, clear, search(4, "CONFIRMED_MATCH", "SANCTIONS:o1", "o")) == "REFUSED"


def test_a_search_that_is_repeated_replaces_the_one_that_failed() -> None:
    failed, again = search(3, "FAILED"), search(4, "CLEAR", row="s2", made=5)
    touched = search(6, "FAILED")
    assert state(OPENED, risk(2, "COMPLETED"), failed, again, touched) == "READY"


def test_what_one_side_had_done_is_taken_back_when_the_other_refuses() -> None:
    done, no = search(2, "CLEAR"), risk(3, "REJECTED")
    made = fold([OPENED, done, no], NOW)
    assert (made.state, made.undo) == ("COMPENSATING", [COMPLIANCE])
    made = fold([OPENED, done, no, case(4, "REJECTED")], NOW)
    assert (made.state, made.undo) == ("COMPENSATED", [COMPLIANCE])
    assert state(OPENED, risk(2, "REJECTED")) == "REFUSED"


def test_both_done_and_then_a_match_is_found() -> None:
    ready = [OPENED, risk(2, "COMPLETED"), search(3, "CLEAR")]
    made = fold([*ready, search(4, "CONFIRMED_MATCH")], NOW)
    assert (made.state, made.undo, made.ready_at_us) == ("COMPENSATING", [RISK], 3)


def test_an_answer_that_is_gone_is_waited_for_again() -> None:
    ready = [OPENED, risk(2, "COMPLETED"), search(3, "CLEAR")]
    assert state(*ready, search(4, None)) == "WAITING"


def test_a_case_decided_before_both_were_done() -> None:
    assert fold([OPENED, case(2, "APPROVED"), risk(3, "COMPLETED")], NOW).was_hasty
    assert state(OPENED, risk(2, "COMPLETED"), case(3, "REJECTED")) == "CLOSED"
    ready = [OPENED, risk(2, "COMPLETED"), search(3, "CLEAR"), case(4, "APPROVED")]
    assert not fold(ready, NOW).was_hasty


SIGNALS = st.lists(
    st.one_of(
        st.builds(
            case,
            st.integers(1, 9),
            st.sampled_from(["DRAFT", "PENDING_REVIEW", "APPROVED", "REJECTED"]),
            st.sampled_from([None, 60, 80]),
        ),
        st.builds(risk, st.integers(1, 9), st.sampled_from(["IN_PROGRESS", "COMPLETED", None])),
        st.builds(
            search,
            st.integers(1, 9),
            st.sampled_from(["PENDING", "CLEAR", "CONFIRMED_MATCH", None]),
            st.sampled_from(["SANCTIONS", "PEP"]),
            st.sampled_from(["s", "t"]),
            st.integers(0, 2),
        ),
    ),
    max_size=9,
    # A place in the log is one change.
    unique_by=lambda signal: signal.order,
)


@settings(max_examples=400, deadline=None)
@given(SIGNALS, st.integers(0, 2**32))
def test_order_of_arrival_and_duplicates_change_nothing(signals: list[Signal], seed: int) -> None:
    chance = random.Random(seed)
    arrived = signals + (chance.choices(signals, k=4) if signals else [])
    chance.shuffle(arrived)
    assert fold(arrived, NOW) == fold(signals, NOW)


@settings(max_examples=400, deadline=None)
@given(SIGNALS)
def test_ready_says_that_both_are_done_now(signals: list[Signal]) -> None:
    made: Readiness = fold(signals, NOW)
    assert (made.state == "READY") == (made.risk == made.compliance == "DONE")
    assert made.state != "READY" or made.ready_at_us is not None
