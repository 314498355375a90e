"""Histories of cards: every feature against a count by hand, at any moment of any life."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from time import process_time
from timeit import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import places
from schemas.events import AuthorizationRequested
from schemas.features import (
    DECISION_FEATURES,
    MOST_ATTEMPTS,
    PRESENT_CHANNELS,
    SMALL_BELOW_MINOR,
    DecisionFeature,
)
from streams.authorization.history import DAY_MS, Attempt, CardHistory, milliseconds
from tests.streams.authorization.usual import NOW, REQUEST

T0 = milliseconds(NOW) - 3 * DAY_MS
PRAGUE, NEW_YORK = (50_087_000, 14_421_000), (40_712_800, -74_006_000)


def attempt(at_ms: int, **changes: object) -> Attempt:
    """An approved purchase in Prague."""
    made = Attempt(
        at_ms, "APPROVED", 90_000, 90_000, "M-1", "5411", "CZ", "CHIP", None, None, "CZK"
    )
    return replace(made, **changes)


def by_hand(attempts: list[Attempt], now_ms: int, request: AuthorizationRequested) -> dict:
    """The features as their declarations read, from the list of all attempts."""
    now_ms = max([now_ms, *(one.decided_at_ms for one in attempts)])
    last = attempts[-MOST_ATTEMPTS:]

    def within(seconds: int) -> list[Attempt]:
        return [one for one in last if now_ms - seconds * 1000 < one.decided_at_ms <= now_ms]

    day, hour = within(86_400), within(3600)
    here = [one for one in day if one.decision == "APPROVED" and one.channel in PRESENT_CHANNELS]
    km = kmh = None
    if here and request.channel in PRESENT_CHANNELS:
        then = here[-1]
        ends = (
            then.latitude_e6, then.longitude_e6,
            request.terminal_latitude_e6, request.terminal_longitude_e6,
        )  # fmt: skip
        km = (
            places.least_km(then.country, request.merchant_country)
            if None in ends
            else places.distance_km(*ends)
        )
        if km is not None:
            kmh = km * 3_600_000 // max(1, now_ms - then.decided_at_ms)
    return {
        "card_attempts_1m": len(within(60)),
        "card_attempts_5m": len(within(300)),
        "card_attempts_1h": len(hour),
        "card_attempts_24h": len(day),
        "card_declines_1h": sum(one.decision == "DECLINED" for one in hour),
        "card_spend_1h": sum(one.approved_amount_minor for one in hour),
        "card_spend_24h": sum(one.approved_amount_minor for one in day),
        "card_merchants_24h": len({one.merchant_id for one in day}),
        "card_countries_24h": len({one.country for one in day}),
        "card_small_amounts_10m": sum(
            one.channel == "ECOMMERCE" and one.amount_minor < SMALL_BELOW_MINOR.get(one.currency, 0)
            for one in within(600)
        ),
        "card_not_present_1h": sum(one.channel == "ECOMMERCE" for one in hour),
        "card_seconds_since_last": (now_ms - day[-1].decided_at_ms) // 1000 if day else None,
        "card_travel_kmh": kmh,
        "card_travel_km": km,
        "card_is_new_merchant": int(request.merchant_id not in {o.merchant_id for o in day}),
        "card_is_new_country": int(request.merchant_country not in {o.country for o in day}),
    }


# Gaps on, just before and just after the edges of windows, and none at all.
EDGES_MS = [s * 1000 for s in (1, 60, 300, 600, 3600, 86_400)]
GAPS = st.sampled_from([0, 0, 1, *(edge + by for edge in EDGES_MS for by in (-1, 0, 1))])
COUNTRIES = st.sampled_from(["CZ", "DE", "JP", "XX"])
CHANNELS = st.sampled_from(["CHIP", "ECOMMERCE", "ATM"])
SPOTS = st.sampled_from([(None, None), PRAGUE, NEW_YORK])


@st.composite
def lives(draw: st.DrawFn) -> list[Attempt]:
    """Attempts in order, as the fence keeps them."""
    gaps = draw(st.lists(GAPS, max_size=25))
    found = []
    for at_ms in accumulate(gaps, initial=T0):
        is_approved = draw(st.booleans())
        amount = draw(st.sampled_from([0, 4_999, 5_000, 70_000]))
        latitude, longitude = draw(SPOTS)
        found.append(
            Attempt(
                at_ms, "APPROVED" if is_approved else "DECLINED", amount,
                draw(st.sampled_from([amount, amount // 2])) if is_approved else 0,
                draw(st.sampled_from(["M-1", "M-2", "M-3"])), "5411", draw(COUNTRIES),
                draw(CHANNELS), latitude, longitude, draw(st.sampled_from(["CZK", "USD", "XXX"])),
            )
        )  # fmt: skip
    return found[1:]


@st.composite
def requests(draw: st.DrawFn) -> AuthorizationRequested:
    latitude, longitude = draw(SPOTS)
    return replace(
        REQUEST,
        merchant_id=draw(st.sampled_from(["M-1", "M-2", "M-9"])),
        merchant_country=draw(COUNTRIES),
        channel=draw(CHANNELS),
        terminal_latitude_e6=latitude,
        terminal_longitude_e6=longitude,
    )


@given(lives(), requests(), GAPS, st.integers(0, 3))
@settings(deadline=None)
def test_every_feature_is_what_counting_by_hand_gives(
    life: list[Attempt], request_: AuthorizationRequested, later_ms: int, more_days: int
) -> None:
    found = CardHistory.of(len(life), life)
    now_ms = found.last_decided_at_ms + later_ms + more_days * DAY_MS // 2
    assert found.features(now_ms, request_) == by_hand(life, now_ms, request_)


@given(lives(), requests(), GAPS)
@settings(deadline=None)
def test_a_history_that_grew_is_the_one_read_from_the_record(
    life: list[Attempt], request_: AuthorizationRequested, later_ms: int
) -> None:
    grown = CardHistory.empty()
    for i, one in enumerate(life):
        grown = grown.after(one)
        assert grown == CardHistory.of(i + 1, life[: i + 1])
    # The record is read a day back from the last decision, and no further.
    last_day = [one for one in life if one.decided_at_ms > grown.last_decided_at_ms - DAY_MS]
    reread = CardHistory.of(len(life), last_day)
    now_ms = grown.last_decided_at_ms + later_ms
    assert reread == grown
    assert reread.features(now_ms, request_) == grown.features(now_ms, request_)


@given(lives(), lives(), lives(), requests())
@settings(deadline=None)
def test_a_history_does_not_change_when_others_grow_from_it(
    life: list[Attempt], one: list[Attempt], other: list[Attempt], request_: AuthorizationRequested
) -> None:
    root = CardHistory.of(len(life), life)
    now_ms = root.last_decided_at_ms + 1
    before = root.features(now_ms, request_)
    for more in (one, other):
        branch = root
        for attempt_ in more:
            branch = branch.after(attempt_)
        assert branch == CardHistory.of(len(life) + len(more), life + more)
    assert root.features(now_ms, request_) == before
    assert root == CardHistory.of(len(life), life)


@given(lives(), requests(), GAPS)
@settings(deadline=None)
def test_bytes_and_back_is_the_same_history_and_grows_the_same(
    life: list[Attempt], request_: AuthorizationRequested, later_ms: int
) -> None:
    found = CardHistory.of(len(life) + 7, life)
    back = CardHistory.loads(found.dumps())
    assert back == found
    more = attempt(found.last_decided_at_ms + later_ms)
    assert back.after(more) == found.after(more)
    now_ms = found.last_decided_at_ms + later_ms
    assert back.features(now_ms, request_) == found.features(now_ms, request_)


@given(lives(), requests(), GAPS)
@settings(deadline=None)
def test_a_week_later_everything_is_the_same(
    life: list[Attempt], request_: AuthorizationRequested, later_ms: int
) -> None:
    week_ms = 7 * DAY_MS
    moved = [replace(one, decided_at_ms=one.decided_at_ms + week_ms) for one in life]
    now_ms = T0 + 30 * DAY_MS + later_ms if not life else life[-1].decided_at_ms + later_ms
    found = CardHistory.of(1, life).features(now_ms, request_)
    assert found == CardHistory.of(1, moved).features(now_ms + week_ms, request_)


WINDOWED = [feature for feature in DECISION_FEATURES if feature.unit != "flag"]


@pytest.mark.parametrize("feature", WINDOWED, ids=lambda one: one.name)
@pytest.mark.parametrize("decision", ["APPROVED", "DECLINED"])
@pytest.mark.parametrize("channel", ["CHIP", "ECOMMERCE"])
def test_a_window_is_open_on_the_left_and_closed_on_the_right(
    feature: DecisionFeature, decision: str, channel: str
) -> None:
    once = attempt(T0, decision=decision, channel=channel, amount_minor=100)
    found, none = CardHistory.of(1, [once]), CardHistory.empty()
    abroad = replace(REQUEST, merchant_country="JP")
    window_ms = feature.window_s * 1000
    for after_ms in (0, window_ms - 1, window_ms, window_ms + 1):
        value = found.features(T0 + after_ms, abroad)[feature.name]
        assert value == by_hand([once], T0 + after_ms, abroad)[feature.name]
        if after_ms >= window_ms:
            assert value == none.features(T0 + after_ms, abroad)[feature.name]


@pytest.mark.parametrize(("apart_ms", "count"), [(DAY_MS - 1, 2), (DAY_MS, 1)])
def test_an_attempt_is_dropped_when_it_leaves_the_longest_window_and_not_before(
    apart_ms: int, count: int
) -> None:
    found = CardHistory.of(2, [attempt(T0), attempt(T0 + apart_ms)])
    assert found.attempts == count
    assert found.features(T0 + apart_ms, REQUEST)["card_attempts_24h"] == count


def test_no_moment_is_before_the_last_decision() -> None:
    found = CardHistory.of(1, [attempt(T0)])
    assert found.features(T0 - 5000, REQUEST) == found.features(T0, REQUEST)
    early = found.after(attempt(T0 - 5000))
    assert early.last_decided_at_ms == T0
    assert early == found.after(attempt(T0))


def test_a_card_without_recent_attempts_still_knows_its_version_and_last_moment() -> None:
    found = CardHistory.of(57, [], last_decided_at_ms=T0)
    assert (found.version, found.last_decided_at_ms, found.attempts) == (57, T0, 0)
    assert CardHistory.loads(found.dumps()) == found
    assert found.after(attempt(T0 + 1)).version == 58


def test_a_card_that_never_stops_takes_bounded_memory_and_counts_stand_still() -> None:
    many = [attempt(T0 + i, merchant_id=f"M-{i % 3000}") for i in range(3 * MOST_ATTEMPTS)]
    found = CardHistory.empty()
    for one in many:
        found = found.after(one)
    assert found.attempts == MOST_ATTEMPTS
    assert len(found._log.times) <= 2 * MOST_ATTEMPTS + 1
    now_ms = found.last_decided_at_ms
    assert found.features(now_ms, REQUEST) == by_hand(many, now_ms, REQUEST)
    assert found == CardHistory.of(len(many), many[-MOST_ATTEMPTS:])


def test_what_was_written_otherwise_is_refused() -> None:
    for other in (b"[]", b"[99, 1]", b"{}", b"not json"):
        with pytest.raises(ValueError, match=r"."):
            CardHistory.loads(other)


def test_the_features_are_those_that_are_declared() -> None:
    names = [feature.name for feature in DECISION_FEATURES]
    assert set(CardHistory.empty().features(T0, REQUEST)) == set(names)
    assert len(names) == len(set(names))


TRAVELS = [
    # An hour from Prague to New York by coordinates.
    ((*PRAGUE, "CZ"), (*NEW_YORK, "US"), 3_600_000, (6570, 6570)),
    # By country when a terminal does not say where it stands: at least so far.
    ((None, None, "CZ"), (*NEW_YORK, "US"), 7_200_000, (1808, 3616)),
    # Neighbours may be next to each other.
    ((None, None, "CZ"), (None, None, "DE"), 1000, (0, 0)),
    ((None, None, "CZ"), (None, None, "CZ"), 0, (0, 0)),
    # Two places in one country are told apart by coordinates.
    ((*PRAGUE, "CZ"), (49_195_000, 16_608_000, "CZ"), 1_800_000, (372, 186)),
    # Nobody knows where XX is.
    ((None, None, "CZ"), (None, None, "XX"), 1000, (None, None)),
]


@pytest.mark.parametrize(("then", "now", "took_ms", "expected"), TRAVELS)
def test_travel_is_from_where_the_card_was_last_accepted(
    then: tuple, now: tuple, took_ms: int, expected: tuple
) -> None:
    last = attempt(T0, latitude_e6=then[0], longitude_e6=then[1], country=then[2])
    asked = replace(
        REQUEST,
        terminal_latitude_e6=now[0],
        terminal_longitude_e6=now[1],
        merchant_country=now[2],
    )
    found = CardHistory.of(1, [last]).features(T0 + took_ms, asked)
    assert (found["card_travel_kmh"], found["card_travel_km"]) == expected


def test_neither_a_refused_attempt_nor_one_online_moves_the_card() -> None:
    at_home = CardHistory.of(1, [attempt(T0)])
    tried = at_home.after(attempt(T0 + 1, decision="DECLINED", country="JP"))
    online = tried.after(attempt(T0 + 2, channel="ECOMMERCE", country="US"))
    assert online.features(T0 + 3, REQUEST)["card_travel_km"] == 0
    abroad = replace(REQUEST, merchant_country="JP")
    assert online.features(T0 + 3, abroad)["card_travel_km"] > 6000
    assert online.features(T0 + 3, replace(abroad, channel="ECOMMERCE"))["card_travel_km"] is None


def test_milliseconds_are_exact_and_rounded_down() -> None:
    for micros in (0, 1, 999, 1000, 1001, 999_999):
        moment = datetime(2026, 11, 30, 12, 0, 0, micros, tzinfo=UTC)
        assert milliseconds(moment) == milliseconds(moment.replace(microsecond=0)) + micros // 1000


def test_attempts_are_read_from_rows() -> None:
    row = {
        "decision": "APPROVED", "amount_minor": 500, "approved_amount_minor": None,
        "merchant_id": "M-1", "mcc": "5411", "merchant_country": "CZ", "channel": "CHIP",
        "terminal_latitude_e6": None, "terminal_longitude_e6": None, "currency": "CZK",
        "decided_at": NOW,
    }  # fmt: skip
    assert Attempt.from_row(row).approved_amount_minor == 500
    assert Attempt.from_row({**row, "approved_amount_minor": 300}).approved_amount_minor == 300
    assert Attempt.from_row({**row, "decision": "DECLINED"}).approved_amount_minor == 0
    assert Attempt.from_row(row).decided_at_ms == milliseconds(NOW)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 2000), min_size=2, max_size=50))
def test_distances_between_countries_are_symmetric_and_never_more_than_between_their_places(
    seeds: list[int],
) -> None:
    codes = sorted(places._circles())
    for a, b in pairwise(seeds):
        one, other = codes[a % len(codes)], codes[b % len(codes)]
        assert places.least_km(one, other) == places.least_km(other, one) >= 0
    assert places.least_km("CZ", "US") <= places.distance_km(*PRAGUE, *NEW_YORK)


def test_a_history_takes_little_time() -> None:
    """A loose bound for a busy machine; quiet, it is a third of it."""
    found = CardHistory.of(50, [attempt(T0 + i * 60_000) for i in range(50)])

    def work() -> None:
        nonlocal found
        found.features(found.last_decided_at_ms + 5, REQUEST)
        found = found.after(attempt(found.last_decided_at_ms + 10))

    assert min(repeat(work, timer=process_time, number=1000, repeat=5)) / 1000 * 1e6 < 60
