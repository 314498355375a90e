"""The circuit breaker around the decider: after five failures in a row nobody waits for it.

After a minute three requests at a time try it; three successes close the circuit, one failure opens
it for another minute. The states are pybreaker's. It knows no coroutines, its pause is wall-clock
time, and half open it lets everybody through: so outcomes are reported to it when they are known,
the pause cannot be stepped over by a clock, and three means three.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerError,
)

FAILURES, OPEN_S, PROBES = 5, 60.0, 3
STATES = (STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN)
NEVER_S = 10.0**8


class CircuitOpen(Exception):
    """The decider has failed often enough; do not wait for it now."""


class Inconclusive(Exception):
    """A failure that says nothing about the decider: the caller had no patience."""


class Failed(Exception):
    """What the breaker is told of a failure."""


class Circuit:
    """One breaker; used on one loop."""

    def __init__(self, open_s: float = OPEN_S) -> None:
        self._open_s = open_s
        self._breaker = CircuitBreaker(
            fail_max=FAILURES,
            reset_timeout=NEVER_S,
            success_threshold=PROBES,
            throw_new_error_on_trip=False,
        )
        self._opened_at = 0.0
        self._probes = 0

    @property
    def state(self) -> str:
        """closed, half-open or open."""
        return str(self._breaker.current_state)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one question: CircuitOpen instead of it, or its outcome is counted.

        Any exception is a failure, save one raised as Inconclusive.
        """
        self._half_open_in_time()
        is_probe = self.state == STATE_HALF_OPEN
        if self.state == STATE_OPEN or (is_probe and self._probes >= PROBES):
            raise CircuitOpen(f"the circuit is {self.state}")
        self._probes += is_probe
        try:
            yield
        except Inconclusive:
            raise
        except Exception:
            self._failed()
            raise
        else:
            # A success of before the circuit opened changes nothing: it raises.
            with suppress(CircuitBreakerError):
                self._breaker.call(_nothing)
        finally:
            self._probes -= is_probe

    def _failed(self) -> None:
        was_open = self.state == STATE_OPEN
        with suppress(CircuitBreakerError, Failed):
            self._breaker.call(_fail)
        if self.state == STATE_OPEN and not was_open:
            self._opened_at = time.monotonic()

    def _half_open_in_time(self) -> None:
        if self.state == STATE_OPEN and time.monotonic() >= self._opened_at + self._open_s:
            self._breaker.half_open()


def _nothing() -> None:
    """What the breaker is told of a success."""


def _fail() -> None:
    raise Failed
