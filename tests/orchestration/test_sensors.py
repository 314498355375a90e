"""What the sensor decides, as a pure function of offsets and past runs."""

from orchestration.sensors import DAY_S, NO_NEWS, Past, decide, waits

TOPIC = "oltp.credit.payments"
NOW = 1_000_000.0


def at(offset: int) -> dict[str, int]:
    return {f"{TOPIC}:0": offset}


def test_runs_for_offsets_beyond_the_last_complete_run() -> None:
    assert decide(at(12), Past(at(10)), NOW) == {TOPIC: 2}


def test_does_not_run_when_nothing_has_come() -> None:
    assert isinstance(decide(at(10), Past(at(10)), NOW), str)
    assert isinstance(decide({}, Past(), NOW), str)


def test_runs_for_the_first_time_when_there_is_anything() -> None:
    assert decide(at(3), Past(), NOW) == {TOPIC: 3}


def test_a_run_that_was_killed_before_it_began_is_repeated_at_once() -> None:
    assert decide(at(12), Past(at(10), NOW, [(NOW - 1, {})]), NOW) == {TOPIC: 2}


def test_a_first_failure_over_the_same_changes_is_repeated_at_once() -> None:
    assert decide(at(12), Past(at(10), NOW, [(NOW - 1, at(12))]), NOW) == {TOPIC: 2}


def test_repeated_failures_over_the_same_changes_wait_longer() -> None:
    failed = [(NOW - 40, at(12)), (NOW - 90, at(12)), (NOW - 120, at(12)), (NOW - 130, at(12))]
    assert isinstance(decide(at(12), Past(at(10), NOW, failed), NOW), str)
    assert decide(at(12), Past(at(10), NOW, failed), NOW + 30) == {TOPIC: 2}


def test_new_changes_are_tried_at_once_whatever_failed_before() -> None:
    failed = [(NOW - 1, at(12))] * 5
    assert decide(at(13), Past(at(10), NOW, failed), NOW) == {TOPIC: 3}


def test_a_new_day_is_a_reason_to_run_once() -> None:
    midnight = NOW - NOW % DAY_S + DAY_S
    yesterday = Past(at(10), began_at=midnight - 1)
    assert decide(at(10), yesterday, midnight - 0.5) == NO_NEWS
    assert decide(at(10), yesterday, midnight + 1) == {}
    assert decide(at(10), Past(at(10), began_at=midnight + 2), midnight + 3) == NO_NEWS


def test_a_new_day_that_fails_is_repeated_with_pauses() -> None:
    failed = [(NOW - 5, at(10)), (NOW - 6, at(10))]
    yesterday = Past(at(10), NOW - 2 * DAY_S, failed)
    assert isinstance(decide(at(10), yesterday, NOW), str)
    assert decide(at(10), yesterday, NOW + 30) == {}


def test_a_run_without_news_of_its_own_waits_after_failures_too() -> None:
    """For what the source's log has and Kafka has not, there is no news to be counted."""
    past = Past(at(10), NOW, [(NOW - 5, at(10)), (NOW - 6, at(10))])
    assert waits(at(10), past, NOW)
    assert not waits(at(10), past, NOW + 30)
    assert not waits(at(10), Past(at(10), NOW), NOW)
