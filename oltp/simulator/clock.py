"""Moments as whole seconds since 1970 UTC, their text for COPY, and the rhythm of a day. Pure."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate

DAY_S = 86_400
HOUR_S = 3_600
# Times of day as text, looked up instead of formatted: history has millions of them.
_CLOCK = tuple(f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}+00" for s in range(DAY_S))
_EPOCH = date(1970, 1, 1)
# How much of a day's buying falls into each hour, local time: little at night, lunch, evening.
SHOPPING = (2, 1, 1, 1, 1, 2, 6, 14, 24, 30, 36, 44, 52, 44, 36, 36, 42, 54, 56, 44, 30, 18, 10, 5)
OFFICE = (0, 0, 0, 0, 0, 0, 0, 4, 16, 22, 22, 20, 14, 18, 22, 20, 16, 8, 4, 3, 2, 1, 0, 0)
NIGHT = (30, 34, 36, 30, 18, 8, 3, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5, 6, 8, 12, 18, 24)
# Monday first: what a weekday is to the busiest one.
WEEKDAYS = (0.72, 0.70, 0.76, 0.84, 1.00, 0.98, 0.62)
# January first: before Christmas one buys, after it one does not.
MONTHS = (0.86, 0.86, 0.95, 0.97, 1.0, 1.02, 1.05, 1.0, 0.97, 1.0, 1.12, 1.30)
# Hours ahead of UTC, without summer time.
OFFSET_HOURS = {"US": -6, "GB": 0, "DE": 1, "FR": 1, "CZ": 1, "JP": 9}


def at_midnight(day: date) -> int:
    """The moment a UTC day begins."""
    return (day - _EPOCH).days * DAY_S


def day_of(moment: int) -> date:
    """The UTC day of a moment."""
    return _day(moment // DAY_S)


def text(moment: int) -> str:
    """The moment as Postgres reads it."""
    return f"{_day_text(moment // DAY_S)} {_CLOCK[moment % DAY_S]}"


def as_datetime(moment: int) -> datetime:
    """The moment with its time zone, UTC."""
    return datetime.fromtimestamp(moment, UTC)


def at_hour(chance: random.Random, day: date, hours: Sequence[int], country: str) -> int:
    """A moment of that local day, at an hour as likely as `hours` weighs it."""
    hour = bisect(_cumulated(tuple(hours)), chance.random() * sum(hours))
    local_s = hour * HOUR_S + int(chance.random() * HOUR_S)
    return at_midnight(day) + local_s - OFFSET_HOURS.get(country, 0) * HOUR_S


@lru_cache(maxsize=64)
def _cumulated(hours: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(accumulate(hours))


@lru_cache(maxsize=20_000)
def _day(number: int) -> date:
    return _EPOCH + timedelta(days=number)


@lru_cache(maxsize=20_000)
def _day_text(number: int) -> str:
    return _day(number).isoformat()
