"""Velocity features against a second, independent calculation, and the edges of their windows."""

from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from schemas import features
from streams.risk import policy
from streams.risk.policy import Attempt

AT_MS = 1_800_000_000_000
MINUTE_MS = 60_000
ATTEMPT = st.builds(
    Attempt,
    st.uuids().map(str),
    st.integers(AT_MS - 8 * 86_400_000, AT_MS + 5_000)
    | st.sampled_from([AT_MS, AT_MS - MINUTE_MS, AT_MS - MINUTE_MS + 1, AT_MS + 1]),
    st.sampled_from(["APPROVED", "DECLINED"]),
    st.integers(0, 10**9),
    st.sampled_from(["M|1", 'M"2', "M3"]),
    st.sampled_from(["CZ", "DE"]),
)


def attempt(at_ms: int, decision: str = "APPROVED", amount: int = 100) -> Attempt:
    return Attempt(f"a-{at_ms}", at_ms, decision, amount, "M1", "CZ")


def test_a_window_is_open_on_the_left_and_closed_on_the_right() -> None:
    edges = [AT_MS - MINUTE_MS, AT_MS - MINUTE_MS + 1, AT_MS, AT_MS + 1]
    found = policy.vector("card", [attempt(at) for at in edges], AT_MS)
    assert found["card_attempts_1m"] == 2


def test_attempts_count_declines_and_spend_does_not() -> None:
    seen = [attempt(AT_MS, amount=5), attempt(AT_MS - 1, "DECLINED", 7)]
    found = policy.vector("card", seen, AT_MS)
    assert found["card_attempts_1m"] == 2
    assert found["card_declines_1h"] == 1
    assert found["card_spend_1h"] == 5


def test_without_history_every_feature_has_its_default() -> None:
    for entity in features.ENTITIES:
        expected = {feature.name: feature.default for feature in features.of(entity)}
        assert policy.vector(entity, [], AT_MS) == expected


@given(st.lists(ATTEMPT, max_size=30), st.randoms())
def test_features_equal_a_plain_recount_in_any_order(seen: list[Attempt], random: Random) -> None:
    shuffled = random.sample(seen, len(seen))
    for entity in features.ENTITIES:
        assert policy.vector(entity, shuffled, AT_MS) == {
            feature.name: recount(feature, seen) for feature in features.of(entity)
        }


def recount(feature: features.Feature, seen: list[Attempt]) -> int:
    values = []
    for one in seen:
        age_ms = AT_MS - one.decided_at_ms
        if 0 <= age_ms < feature.window_s * 1000 and feature.where in ("", one.decision):
            values.append(getattr(one, feature.value) if feature.value else 1)
    return len(set(values)) if feature.operation == "distinct" else sum(values)


@given(ATTEMPT)
def test_a_member_can_be_read_back(one: Attempt) -> None:
    assert policy.parse(one.member(), float(one.decided_at_ms)) == one


def test_times_from_capture_and_from_the_database_are_the_same_millisecond() -> None:
    moment = datetime(2026, 11, 30, 1, 2, 3, 456_789, tzinfo=UTC)
    assert (
        policy.milliseconds(moment)
        == policy.milliseconds("2026-11-30T01:02:03.456789Z")
        == policy.milliseconds(1_796_000_523_456_789)
        == 1_796_000_523_456
    )


def test_a_decision_from_the_future_of_its_own_row_is_not_plausible() -> None:
    assert policy.is_plausible(attempt(AT_MS), AT_MS)
    assert not policy.is_plausible(attempt(AT_MS + 6 * MINUTE_MS), AT_MS)
