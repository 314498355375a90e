"""What counts as "down, try again" as against "wrong, never again", and how long to wait."""

from __future__ import annotations

import random

import httpx
import psycopg
import psycopg_pool
import redis
from aiokafka.errors import KafkaError

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
