"""Python started with this folder on its path has a clock that is SKEW_S seconds off.

SKEW_S may name a file instead: what it holds counts, so that a clock can be set back while it runs.
Only wall clocks are moved; time.monotonic() goes on, as it does when an operator sets a clock.
"""

import datetime
import os
import time
from pathlib import Path
from typing import Any

_given = os.environ.get("SKEW_S", "0")
_true_time, _true_ns, _true_datetime = time.time, time.time_ns, datetime.datetime
_looked = [0.0, 0.0]


def _skew_s() -> float:
    if not _given.startswith("/"):
        return float(_given)
    now = time.monotonic()
    if now - _looked[0] > 0.1:
        _looked[:] = now, float(Path(_given).read_text())
    return _looked[1]


class _Kind(type):
    """A true datetime is one of these, whoever made it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _true_datetime)


class _Datetime(_true_datetime, metaclass=_Kind):
    """Makes true datetimes, for serializers look at the very type; only now() is moved."""

    __slots__ = ()

    def __new__(cls, *parts: Any, **named: Any) -> Any:
        return _true_datetime(*parts, **named)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _true_datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return _true_datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


if _given != "0":
    time.time = lambda: _true_time() + _skew_s()
    time.time_ns = lambda: _true_ns() + int(_skew_s() * 1e9)
    datetime.datetime = _Datetime  # type: ignore[misc]
