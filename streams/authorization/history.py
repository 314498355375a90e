"""What a card did in the last day, as decisions see it: exact windows at any later moment. Pure.

A history is a value: `after` gives a new one and leaves the old as it was. It knows how many
decisions the card has had (`version`), so whoever judges on it can be told that there is a later
one. Windows are left-open and right-closed, (t - window, t], in whole milliseconds, over the
attempts before the one that is judged, and never over more than the last MOST_ATTEMPTS of them:
counts stand still there, and memory is bounded. What the features mean is in schemas/features.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas import places
from schemas.codes import Channel, Decision
from schemas.events import AuthorizationRequested
from schemas.features import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MOST_ATTEMPTS,
    PRESENT_CHANNELS,
    SMALL_BELOW_MINOR,
)

MINUTE_MS, HOUR_MS, DAY_MS = MINUTE_S * 1000, HOUR_S * 1000, DAY_S * 1000
FORMAT = 1
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
NOWHERE = (-1, 0, None, None, "")
# Where the card was last present and accepted: number of the attempt, time, latitude, longitude,
# country. A refused attempt moves no place: whoever tries a copied card abroad stops only himself.
Place = tuple[int, int, int | None, int | None, str]
# Of all attempts before an entry: declined, approved amount, small online, card not present.
Totals = tuple[int, int, int, int]


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down, exactly."""
    return (moment - EPOCH) // MILLISECOND


@dataclass(frozen=True, slots=True)
class Attempt:
    """One decided request, as its row has it: an increment's amount is what it added, an approval
    in part was approved for less than was asked, a refusal for nothing."""

    decided_at_ms: int
    decision: str
    amount_minor: int
    approved_amount_minor: int
    merchant_id: str
    mcc: str
    country: str
    channel: str
    latitude_e6: int | None
    longitude_e6: int | None
    currency: str

    @classmethod
    def from_row(cls, row: Mapping[str, Any], decided_at_ms: int | None = None) -> Attempt:
        """The attempt that a row of card.authorizations tells of."""
        if decided_at_ms is None:
            decided_at_ms = milliseconds(row["decided_at"])
        is_approved = row["decision"] == Decision.APPROVED
        approved = row["approved_amount_minor"]
        return cls(
            decided_at_ms,
            row["decision"],
            row["amount_minor"],
            (row["amount_minor"] if approved is None else approved) if is_approved else 0,
            row["merchant_id"],
            row["mcc"],
            row["merchant_country"],
            row["channel"],
            row["terminal_latitude_e6"],
            row["terminal_longitude_e6"],
            row["currency"],
        )


class _Log:
    """Attempts in order, only ever added to; histories of one card share it, each its own part."""

    __slots__ = ("start", "times", "totals")

    def __init__(self, start: int, times: list[int], totals: list[Totals]) -> None:
        # The number of the first entry; totals has one more item than times.
        self.start = start
        self.times = times
        self.totals = totals

    @property
    def end(self) -> int:
        return self.start + len(self.times)

    def part(self, first: int, end: int) -> _Log:
        """A log of its own of the entries from `first` to before `end`."""
        i, n = first - self.start, end - self.start
        declined, spent, small, absent = self.totals[i]
        totals = [
            (d - declined, s - spent, m - small, a - absent)
            for d, s, m, a in self.totals[i : n + 1]
        ]
        return _Log(first, self.times[i:n], totals)


class CardHistory:
    """The attempts of a card that still count, numbered from `_first` to before `_end`."""

    __slots__ = (
        "_countries", "_end", "_first", "_log", "_merchants", "_place", "last_decided_at_ms",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        version: int,
        last_decided_at_ms: int,
        log: _Log,
        bounds: tuple[int, int],
        seen: tuple[dict[str, int], dict[str, int]],
        place: Place,
    ) -> None:
        self.version = version
        self.last_decided_at_ms = last_decided_at_ms
        self._log = log
        self._first, self._end = bounds
        # The number of the last attempt at each merchant and in each country, oldest first.
        self._merchants, self._countries = seen
        self._place = place

    @classmethod
    def empty(cls, version: int = 0, last_decided_at_ms: int = 0) -> CardHistory:
        """A card that did nothing in the last day."""
        log = _Log(0, [], [(0, 0, 0, 0)])
        return cls(version, last_decided_at_ms, log, (0, 0), ({}, {}), NOWHERE)

    @classmethod
    def of(
        cls, version: int, attempts: Iterable[Attempt], last_decided_at_ms: int = 0
    ) -> CardHistory:
        """The history that ends with these attempts, in order; `version` decisions in all.

        The attempts of the last day are enough. Without any, `last_decided_at_ms` says when the
        last decision was.
        """
        history = cls.empty()
        for attempt in attempts:
            history = history.after(attempt)
        history.version = version
        history.last_decided_at_ms = max(history.last_decided_at_ms, last_decided_at_ms)
        return history

    def after(self, attempt: Attempt) -> CardHistory:
        """The history with one decision more. Its time does not go back."""
        at_ms = max(attempt.decided_at_ms, self.last_decided_at_ms)
        log, number = self._log, self._end
        if log.end != number:  # another history went on from here
            log = log.part(self._first, number)
        end = number + 1
        log.times.append(at_ms)
        log.totals.append(_added(log.totals[-1], attempt))
        opens = bisect_right(log.times, at_ms - DAY_MS, self._first - log.start) + log.start
        first = max(opens, end - MOST_ATTEMPTS)
        if first - log.start > MOST_ATTEMPTS:
            log = log.part(first, end)
        is_here = attempt.decision == Decision.APPROVED and attempt.channel in PRESENT_CHANNELS
        place = (
            (number, at_ms, attempt.latitude_e6, attempt.longitude_e6, attempt.country)
            if is_here
            else self._place
        )
        seen = (
            _seen(self._merchants, attempt.merchant_id, number, first),
            _seen(self._countries, attempt.country, number, first),
        )
        return CardHistory(self.version + 1, at_ms, log, (first, end), seen, place)

    def features(self, now_ms: int, request: AuthorizationRequested) -> dict[str, int | None]:
        """Every decision feature at the moment; none before the last decision."""
        now_ms = max(now_ms, self.last_decided_at_ms)
        start, times, totals = self._log.start, self._log.times, self._log.totals
        end = self._end - start
        day = bisect_right(times, now_ms - DAY_MS, self._first - start, end)
        hour = bisect_right(times, now_ms - HOUR_MS, day, end)
        ten_minutes = bisect_right(times, now_ms - 10 * MINUTE_MS, hour, end)
        five_minutes = bisect_right(times, now_ms - 5 * MINUTE_MS, ten_minutes, end)
        minute = bisect_right(times, now_ms - MINUTE_MS, five_minutes, end)
        declined, spent, small, absent = totals[end]
        declined_hour, spent_hour, _, absent_hour = totals[hour]
        oldest = day + start
        kmh, km = self._travel(now_ms, request, oldest)
        return {
            "card_attempts_1m": end - minute,
            "card_attempts_5m": end - five_minutes,
            "card_attempts_1h": end - hour,
            "card_attempts_24h": end - day,
            "card_declines_1h": declined - declined_hour,
            "card_spend_1h": spent - spent_hour,
            "card_spend_24h": spent - totals[day][1],
            "card_merchants_24h": _count(self._merchants, oldest),
            "card_countries_24h": _count(self._countries, oldest),
            "card_small_amounts_10m": small - totals[ten_minutes][2],
            "card_not_present_1h": absent - absent_hour,
            "card_seconds_since_last": (now_ms - times[end - 1]) // 1000 if end > day else None,
            "card_travel_kmh": kmh,
            "card_travel_km": km,
            "card_is_new_merchant": int(self._merchants.get(request.merchant_id, -1) < oldest),
            "card_is_new_country": int(self._countries.get(request.merchant_country, -1) < oldest),
        }

    def dumps(self) -> bytes:
        """The history as compact bytes."""
        i, n = self._first - self._log.start, self._end - self._log.start
        return orjson.dumps(
            (
                FORMAT,
                self.version,
                self.last_decided_at_ms,
                self._first,
                self._log.times[i:n],
                self._log.totals[i : n + 1],
                self._merchants,
                self._countries,
                self._place,
            )
        )

    @classmethod
    def loads(cls, data: bytes) -> CardHistory:
        """What `dumps` wrote; ValueError for anything else, another format too."""
        found = orjson.loads(data)
        if not isinstance(found, list) or not found or found[0] != FORMAT:
            raise ValueError("these bytes are no history of this format: read the card's rows")
        _, version, last_ms, first, times, totals, merchants, countries, place = found
        log = _Log(first, times, list(map(tuple, totals)))
        bounds = (first, first + len(times))
        return cls(version, last_ms, log, bounds, (merchants, countries), tuple(place))

    @property
    def attempts(self) -> int:
        """How many attempts it holds: what it takes of memory."""
        return self._end - self._first

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CardHistory) and self._visible() == other._visible()

    def __hash__(self) -> int:
        return hash((self.version, self.last_decided_at_ms))

    def __repr__(self) -> str:
        return f"CardHistory(version={self.version}, attempts={self.attempts})"

    def _visible(self) -> tuple[object, ...]:
        part = self._log.part(self._first, self._end)
        seen = [
            [(name, number - self._first) for name, number in found.items()]
            for found in (self._merchants, self._countries)
        ]
        number, *place = self._place
        where = (number - self._first, *place) if number >= self._first else None
        return (self.version, self.last_decided_at_ms, part.times, part.totals, seen, where)

    def _travel(
        self, now_ms: int, request: AuthorizationRequested, oldest: int
    ) -> tuple[int | None, int | None]:
        """Speed and distance since the card was last present and accepted, both rounded down."""
        number, then_ms, latitude, longitude, country = self._place
        if number < oldest or request.channel not in PRESENT_CHANNELS:
            return None, None
        here, there = request.terminal_latitude_e6, request.terminal_longitude_e6
        if latitude is None or longitude is None or here is None or there is None:
            km = places.least_km(country, request.merchant_country)
            if km is None:
                return None, None
        else:
            km = places.distance_km(latitude, longitude, here, there)
        return km * HOUR_MS // max(now_ms - then_ms, 1), km


def _added(totals: Totals, attempt: Attempt) -> Totals:
    declined, spent, small, absent = totals
    is_absent = attempt.channel == Channel.ECOMMERCE
    return (
        declined + (attempt.decision == Decision.DECLINED),
        spent + attempt.approved_amount_minor,
        small + (is_absent and attempt.amount_minor < SMALL_BELOW_MINOR.get(attempt.currency, 0)),
        absent + is_absent,
    )


def _seen(last: dict[str, int], name: str, number: int, first: int) -> dict[str, int]:
    """Who was seen last at which attempt, without what is before `first`."""
    seen = last.copy()
    seen.pop(name, None)
    seen[name] = number
    gone = [one for one, at in _until(seen, first)]
    for one in gone:
        del seen[one]
    return seen


def _until(seen: dict[str, int], first: int) -> Iterable[tuple[str, int]]:
    for name, number in seen.items():
        if number >= first:
            return
        yield name, number


def _count(seen: dict[str, int], oldest: int) -> int:
    """How many were seen at `oldest` or later."""
    count = len(seen)
    for number in seen.values():
        if number >= oldest:
            break
        count -= 1
    return count
