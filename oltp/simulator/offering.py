"""Providers of credit and what they offer: rate, fee, instalment and APR that agree. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from oltp import schedule
from oltp.simulator.world import made_id


@dataclass(frozen=True)
class Provider:
    """Somebody who lends through us."""

    code: str
    name: str
    kind: str
    # The rate for the best customers, and what is added for the worst.
    base_rate: Decimal
    spread: Decimal
    fee_share: Decimal
    # Scores below are declined.
    least_score: int
    share_of_requests: float

    @property
    def id(self) -> str:
        """The same for every simulation: providers are not made up by a seed."""
        return made_id(0, 0, "provider", self.code)


def _rate(text: str) -> Decimal:
    return Decimal(text)


PROVIDERS = (
    Provider("northbank", "Northbank", "TRADITIONAL", _rate("0.0599"), _rate("0.09"),
             _rate("0.010"), 60, 0.95),
    Provider("lendwell", "Lendwell", "TRADITIONAL", _rate("0.07125"), _rate("0.12"),
             _rate("0.020"), 54, 0.9),
    Provider("civic", "Civic Credit Union", "TRADITIONAL", _rate("0.0525"), _rate("0.10"),
             _rate("0"), 66, 0.7),
    Provider("quaycoin", "Quay Protocol", "DEFI", _rate("0.0875"), _rate("0.07"),
             _rate("0.005"), 52, 0.4),
    Provider("meridian", "Meridian Bridge", "HYBRID", _rate("0.10375"), _rate("0.14"),
             _rate("0.030"), 48, 0.6),
)  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """What is offered. The instalments are those of the rate; the APR has the fee in it as well."""

    provider: Provider
    amount_minor: int
    rate: Decimal
    fee_minor: int
    months: int
    instalments: tuple[schedule.Instalment, ...]
    payment_minor: int
    apr: Decimal

    @property
    def total_minor(self) -> int:
        """All instalments together."""
        return sum(instalment.due_minor for instalment in self.instalments)


def offers(
    chance: random.Random, score: float, amount_minor: int, months: int, start: date
) -> list[Terms]:
    """What providers offer somebody with this score (0 to 100, more is better); best APR first."""
    found = []
    for provider in PROVIDERS:
        if chance.random() < provider.share_of_requests and score >= provider.least_score:
            found.append(_terms(chance, provider, score, (amount_minor, months, start)))
    if found and chance.random() < 0.04:
        # A promotion: nothing but the principal is paid back.
        found[0] = _priced(found[0].provider, Decimal(0), 0, (amount_minor, months, start))
    return sorted(found, key=lambda terms: (terms.apr, terms.provider.code))


def _terms(
    chance: random.Random, provider: Provider, score: float, asked: tuple[int, int, date]
) -> Terms:
    amount, months, start = asked
    if score < provider.least_score + 8 and chance.random() < 0.3:
        amount = amount * 7 // 10
    risk = Decimal(round((100 - score) * 10)) / 1000
    # In steps of an eighth of a percent.
    rate = provider.base_rate + round(provider.spread * risk * 800) * Decimal("0.00125")
    fee = int(amount * provider.fee_share)
    return _priced(provider, rate, fee, (amount, months, start))


def _priced(provider: Provider, rate: Decimal, fee: int, asked: tuple[int, int, date]) -> Terms:
    amount, months, start = asked
    instalments = schedule.annuity(amount, rate, months, start)
    payment, last = instalments[0].due_minor, instalments[-1].due_minor
    apr = rate.quantize(Decimal("0.000001"))
    if fee:
        apr = max(apr, schedule.annuity_rate(amount - fee, payment, last, months))
    return Terms(provider, amount, rate, fee, months, instalments, payment, apr)
