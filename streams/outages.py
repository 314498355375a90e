"""What counts as "down, try again" as against "wrong, never again", and how long to wait.

Who has another way than to wait leaves what is down alone for a while, behind a breaker.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import httpx
import psycopg
import psycopg_pool
import pybreaker
import redis
from aiokafka.errors import KafkaError

from streams import metrics

log = logging.getLogger(__name__)

OUTAGES: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    KafkaError,
    redis.RedisError,
    httpx.TransportError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg_pool.PoolTimeout,
    # A missing table or right is a deployment that is not finished, not a bad message.
    psycopg.ProgrammingError,
)
FIRST_S, MOST_S = 0.05, 2.0
# So many failures in a row open a breaker; after the pause, so many successes close it.
FAILURES, PAUSE_S, PROBES = 5, 60, 3
STATES = {pybreaker.STATE_CLOSED: 0, pybreaker.STATE_HALF_OPEN: 1, pybreaker.STATE_OPEN: 2}


class Backoff:
    """Doubles from 50 ms to 2 s, with jitter so that agents do not return in step."""

    def __init__(self) -> None:
        self._delay_s = FIRST_S

    def next_s(self) -> float:
        """The wait before the next try."""
        delay_s = self._delay_s * random.uniform(0.8, 1.2)
        self._delay_s = min(self._delay_s * 2, MOST_S)
        return delay_s

    def reset(self) -> None:
        """Begin again at the shortest wait."""
        self._delay_s = FIRST_S


class _Told(pybreaker.CircuitBreakerListener):
    """Says what becomes of a breaker, in the log and at /metrics."""

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: Any, new_state: Any) -> None:
        log.warning("%s: breaker is %s", cb.name, new_state.name)
        metrics.BREAKER.labels(str(cb.name)).set(STATES[new_state.name])


def breaker(name: str) -> pybreaker.CircuitBreaker:
    """A breaker; use it as `with breaker.calling():`, also around what is awaited."""
    metrics.BREAKER.labels(name).set(STATES[pybreaker.STATE_CLOSED])
    return pybreaker.CircuitBreaker(
        fail_max=FAILURES,
        reset_timeout=PAUSE_S,
        success_threshold=PROBES,
        exclude=[asyncio.CancelledError],
        listeners=[_Told()],
        name=name,
    )
