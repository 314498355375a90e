"""Breakers and back-off."""

from datetime import UTC, datetime, timedelta

import pybreaker
import pytest

from streams.outages import FAILURES, MOST_S, PAUSE_S, PROBES, Backoff, breaker


async def fails() -> None:
    raise ConnectionError("down")


async def succeeds() -> None:
    return None


async def test_five_failures_open_a_breaker_and_three_probes_close_it() -> None:
    made = breaker("test")
    for _ in range(FAILURES):
        with pytest.raises((ConnectionError, pybreaker.CircuitBreakerError)), made.calling():
            await fails()
    with pytest.raises(pybreaker.CircuitBreakerError), made.calling():
        await succeeds()
    made._state_storage.opened_at = datetime.now(UTC) - timedelta(seconds=PAUSE_S)
    for number in range(PROBES):
        with made.calling():
            await succeeds()
        assert made.current_state == ("closed" if number == PROBES - 1 else "half-open")


async def test_a_probe_that_fails_opens_it_again() -> None:
    made = breaker("test")
    made.open()
    made._state_storage.opened_at = datetime.now(UTC) - timedelta(seconds=PAUSE_S)
    with pytest.raises((ConnectionError, pybreaker.CircuitBreakerError)), made.calling():
        await fails()
    assert made.current_state == "open"


async def test_a_success_between_failures_starts_the_count_again() -> None:
    made = breaker("test")
    for _ in range(FAILURES * 2):
        with pytest.raises(ConnectionError), made.calling():
            await fails()
        with made.calling():
            await succeeds()
    assert made.current_state == "closed"


def test_pauses_grow_and_begin_again() -> None:
    backoff = Backoff()
    pauses = [backoff.next_s() for _ in range(10)]
    assert pauses[0] < 0.1
    assert max(pauses) <= MOST_S * 1.2
    backoff.reset()
    assert backoff.next_s() < 0.1
