"""What a holder buys: by season, weekday and hour, at home and on journeys. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

from oltp.simulator import clock, merchants
from oltp.simulator.merchants import BY_NAME, COUNTRIES, Swipe
from oltp.simulator.world import THOUSAND_MINOR

DAYS_A_MONTH = 30.44


@dataclass(frozen=True)
class Holder:
    """How somebody spends."""

    card: int
    country: str
    currency: str
    swipes_per_year: float
    # What they spend at once, to what most people do.
    wealth: float

    @property
    def thousand_minor(self) -> int:
        """A thousand, as this holder sees it."""
        return int(THOUSAND_MINOR[self.currency] * self.wealth)


def plan(chance: random.Random, holder: Holder, first: date, last: date) -> list[Swipe]:
    """All that is bought with one card in [first, last), in order of time."""
    if first >= last:
        return []
    journeys = _journeys(chance, holder, first, last)
    found = _subscription(chance, holder, first, last)
    day = first
    while day < last:
        end = min(last, (day.replace(day=1) + timedelta(days=32)).replace(day=1))
        length = (end - day).days
        share = length / DAYS_A_MONTH * clock.MONTHS[day.month - 1]
        expected = holder.swipes_per_year / 12 * share * chance.uniform(0.6, 1.4)
        number = int(expected) + (chance.random() < expected % 1)
        for _ in range(number):
            found.append(_swipe(chance, holder, _weekday(chance, day, length), journeys))
        day = end
    found.sort(key=lambda swipe: swipe.moment)
    return found


def _weekday(chance: random.Random, first: date, length: int) -> date:
    """A day of the span, Fridays and Saturdays more often."""
    while True:
        day = first + timedelta(days=int(chance.random() * length))
        if chance.random() < clock.WEEKDAYS[day.weekday()]:
            return day


def _journeys(
    chance: random.Random, holder: Holder, first: date, last: date
) -> list[tuple[date, date, str]]:
    found = []
    day = first + timedelta(days=chance.randint(20, 400))
    while day < last:
        country = chance.choice([c for c in COUNTRIES if c != holder.country])
        found.append((day, day + timedelta(days=chance.randint(4, 14)), country))
        day += timedelta(days=chance.randint(150, 500))
    return found


def _swipe(
    chance: random.Random, holder: Holder, day: date, journeys: list[tuple[date, date, str]]
) -> Swipe:
    kind = merchants.any_kind(chance)
    here = next((c for start, end, c in journeys if start <= day < end), holder.country)
    country = here
    if chance.random() < kind.is_foreign:
        country = chance.choice(COUNTRIES)
    channel = chance.choice(kind.channels)
    if country != here and channel != "ECOMMERCE":
        # Nobody is in two countries on one day: what is not online happens where one is.
        country = here
    amount = merchants.amount(kind, chance, holder.thousand_minor, holder.currency)
    swipe = Swipe(
        clock.at_hour(chance, day, kind.hours, country),
        holder.card,
        kind,
        amount,
        merchants.merchant_id(kind, chance, country),
        country,
        channel.value,
    )
    return _odd(chance, holder, swipe)


def _odd(chance: random.Random, holder: Holder, swipe: Swipe) -> Swipe:
    """A few of a thousand are what networks also send."""
    dice = chance.random()
    if dice < 0.004:
        swipe.amount_minor = 0
    elif dice < 0.007:
        swipe.currency = "EUR" if holder.currency != "EUR" else "USD"
    elif dice < 0.012:
        swipe.amount_minor *= 30
    elif dice < 0.013:
        swipe.country = "KP"
        swipe.merchant = merchants.merchant_id(swipe.kind, chance, "KP")
    return swipe


def _subscription(chance: random.Random, holder: Holder, first: date, last: date) -> list[Swipe]:
    """Four in ten pay a small sum to one merchant on the same day of each month."""
    if chance.random() >= 0.4:
        return []
    kind = BY_NAME["digital goods"]
    merchant = merchants.merchant_id(kind, chance, "US")
    amount = merchants.amount(kind, chance, holder.thousand_minor, holder.currency)
    start = first + timedelta(days=chance.randint(0, 200))
    share = min(1.0, holder.swipes_per_year / 24)
    found, number = [], 0
    while (day := start + timedelta(days=round(number * DAYS_A_MONTH))) < last:
        number += 1
        if chance.random() < share:
            moment = clock.at_midnight(day) + 3 * clock.HOUR_S + chance.randint(0, 3_000)
            found.append(Swipe(moment, holder.card, kind, amount, merchant, "US", "ECOMMERCE"))
    return found
