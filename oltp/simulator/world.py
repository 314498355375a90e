"""The frame of a simulation, and what one customer's life is told with. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any, TypeVar

from oltp.privacy import Vault
from oltp.simulator import clock
from oltp.simulator.rows import Rows

T = TypeVar("T")
CURRENCY = {"US": "USD", "GB": "GBP", "DE": "EUR", "FR": "EUR", "JP": "JPY"}
# What a thousand dollars are about, in minor units.
THOUSAND_MINOR = {"USD": 100_000, "EUR": 90_000, "GBP": 80_000, "JPY": 150_000, "CZK": 2_300_000}


@dataclass(frozen=True)
class World:
    """What all customers of a simulation share: nothing in it depends on the clock of the machine.

    History runs from `until` minus `years` to the midnight that begins `until`.
    """

    seed: int
    until: date
    years: float
    swipes_per_year: float
    vault: Vault

    @property
    def start(self) -> date:
        """The lender's first day."""
        return self.until - timedelta(days=round(self.years * 365.25))

    @property
    def now(self) -> int:
        """The moment history ends."""
        return clock.at_midnight(self.until)


class Life:
    """One customer: a number, a source of chance of its own and the rows that come of it.

    All chance comes from (seed, number), so customers do not depend on each other nor on how many
    there are.
    """

    def __init__(self, world: World, number: int, rows: Rows) -> None:
        self.world = world
        self.number = number
        self.rows = rows
        self.now = world.now
        self.chance = random.Random(f"{world.seed}/{number}")

    def id(self, kind: str, part: int | str = 0) -> str:
        """The id of this customer's `part`th thing of a kind, as 32 hexadecimal digits."""
        return made_id(self.world.seed, self.number, kind, part)

    def reference(self, kind: str, part: int | str = 0) -> str:
        """How `external_ref` names it."""
        return reference(self.world.seed, self.number, kind, part)

    def any_id(self) -> str:
        """A new id, for what nobody refers to by number."""
        return f"{self.chance.getrandbits(128):032x}"

    def pick(self, weights: dict[T, Any]) -> T:
        """One of the keys, as likely as its weight."""
        return self.chance.choices(tuple(weights), tuple(weights.values()))[0]

    def happens(self, share: float) -> bool:
        """True that often."""
        return self.chance.random() < share

    def between(self, low: float, high: float) -> int:
        """Whole seconds of a number of days in the range."""
        return int(self.chance.uniform(low, high) * clock.DAY_S)

    def office_hour(self, moment: int, country: str = "GB") -> int:
        """A moment from then on, the same or one of the next days, when people work."""
        day = clock.day_of(moment)
        while True:
            if day.weekday() < 5:
                found = clock.at_hour(self.chance, day, clock.OFFICE, country)
                if found >= moment:
                    return found
            day += timedelta(days=1)


def made_id(seed: int, number: int, kind: str, part: int | str = 0) -> str:
    """An id that only depends on what it is of."""
    return blake2b(f"{seed}/{number}/{kind}/{part}".encode(), digest_size=16).hexdigest()


def reference(seed: int, number: int, kind: str, part: int | str = 0) -> str:
    """An `external_ref`; all of the simulator's begin with `sim:`."""
    return f"sim:{seed}:{kind}:{number}:{part}"
