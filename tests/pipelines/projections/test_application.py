"""An application is its set of events: arrival, duplicates and other clocks have no part in it."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.projections.application import Event, fold

OFFERS = ("o1", "o2", "o3")
NAMES = (
    *(f"application.{what}" for what in ("submitted", "decided", "withdrawn")),
    *(f"offer.{what}" for what in ("presented", "accepted", "declined", "expired")),
    *("credit.disbursed", "credit.cured", "provider.quoted"),
)


def event(
    n: int, name: str, subject: str = "a1", lsn: int | None = None, **payload: object
) -> Event:
    told = {
        "application.submitted": {
            "customer_id": "c1",
            "requested_amount_minor": 9007199254740993,
            "currency": "USD",
            "term_months": 24,
            "purpose": "car",
        },
        "application.decided": {
            "customer_id": "c1",
            "decision": "APPROVED",
            "reasons": [],
            "rule_version": None,
        },
        "application.withdrawn": {"customer_id": "c1", "reason": None},
        "offer.accepted": {"amount_minor": 500},
        "credit.disbursed": {"offer_id": "o1"},
    }.get(name, {})
    place = n if lsn is None else lsn
    return Event(f"e{n}", f"credit.{name}", subject, place, 1000 + n, told | payload)


LIFE = [
    event(1, "application.submitted"),
    event(2, "provider.quoted", "p1"),
    event(3, "application.decided"),
    event(4, "offer.presented", "o1"),
    event(5, "offer.presented", "o2"),
    event(6, "offer.declined", "o2"),
    event(7, "offer.accepted", "o1"),
    event(8, "credit.disbursed", "k1"),
    event(9, "credit.paid_off", "k1"),
]


def test_a_whole_life_is_told_step_by_step() -> None:
    made = fold(LIFE)
    assert [step.status for step in made.steps] == ["SUBMITTED", "SUBMITTED"] + ["APPROVED"] * 7
    assert [step.position for step in made.steps] == list(range(1, 10))
    assert (made.quotes, made.offers_in("DECLINED"), made.accepted_offer_id) == (1, 1, "o1")
    assert (made.credit_id, made.credit_state) == ("k1", "PAID_OFF")
    assert made.requested_amount_minor == 9007199254740993
    assert made.remarks == []
    assert made.is_complete


def test_a_prefix_of_the_events_is_the_application_as_it_was() -> None:
    assert fold(LIFE[:1]).status == "SUBMITTED"
    assert fold(LIFE[:7]).credit_id is None


def test_an_application_older_than_its_events_begins_with_what_it_has() -> None:
    made = fold(LIFE[2:])
    assert (made.status, made.is_complete, made.remarks) == ("APPROVED", False, [])


def test_what_does_not_follow_is_applied_and_remarked_on() -> None:
    again = event(10, "application.decided", decision="DECLINED", reasons=["DTI"])
    second = event(11, "offer.accepted", "o2")
    made = fold([*LIFE, again, second])
    assert made.status == "DECLINED"
    assert made.remarks == ["decided after APPROVED", "a second offer accepted, after o1"]
    assert fold([event(8, "credit.disbursed", "k1")]).remarks == [
        "paid out without its offer accepted"
    ]


def test_the_place_in_the_log_decides_not_the_clock() -> None:
    """The clock of the one who withdrew was an hour behind."""
    withdrawn = replace(event(99, "application.withdrawn", lsn=100), at_us=1)
    assert fold([withdrawn, *LIFE[:3]]).status == "WITHDRAWN"


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Any events in any order of places, possible or not; some without a place."""
    names = st.sampled_from(NAMES)
    made = []
    for n in range(draw(st.integers(1, 12))):
        name = draw(names)
        kind = name.split(".")[0]
        subject = draw(st.sampled_from(OFFERS)) if kind == "offer" else f"{kind}-1"
        made.append(event(n, name, subject, lsn=draw(st.sampled_from([0, n, 7 * n % 11]))))
    return made


@settings(max_examples=300, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_the_same_events_give_the_same_application_however_they_came(
    events: list[Event], seed: int
) -> None:
    chance = random.Random(seed)
    arrived = events + chance.choices(events, k=len(events))
    chance.shuffle(arrived)
    assert fold(arrived) == fold(events)


@settings(max_examples=300, deadline=None)
@given(histories())
def test_the_status_is_that_of_the_last_event_that_has_one(events: list[Event]) -> None:
    made = fold(events)
    assert len(made.steps) == len(events)
    said = {"submitted": "SUBMITTED", "decided": "APPROVED", "withdrawn": "WITHDRAWN"}
    own = [e for e in events if e.name.startswith("credit.application.")]
    last = max(own, key=lambda e: (e.lsn, e.at_us, e.event_id), default=None)
    assert made.status == (said[last.name.rpartition(".")[2]] if last else None)
