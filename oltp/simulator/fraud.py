"""Fraud on cards, by pattern: what the thieves do, apart from what the holder does. Pure.

The pattern is the truth about a swipe. It goes to card.fraud_labels only, never into a column that
a decision or a feature could read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from oltp.simulator import clock
from oltp.simulator.merchants import (
    BY_NAME,
    COUNTRIES,
    RISKY_COUNTRIES,
    Kind,
    Swipe,
    merchant_id,
)

CARD_TESTING = "CARD_TESTING"
STOLEN_CARD = "STOLEN_CARD"
ACCOUNT_TAKEOVER = "ACCOUNT_TAKEOVER"
MERCHANT_COMPROMISE = "MERCHANT_COMPROMISE"
BUST_OUT = "BUST_OUT"
# Of a thousand cards a year.
YEARLY_SHARE = {CARD_TESTING: 14, STOLEN_CARD: 18, ACCOUNT_TAKEOVER: 9}
# Of those who bought at a merchant while it leaked card numbers, how many are robbed later.
LEAKED_SHARE = 0.35
LEAK_DAYS = 21


def episodes(
    chance: random.Random,
    own: Sequence[Swipe],
    span: tuple[int, int],
    thousand_minor: int,
    seed: int,
) -> list[list[Swipe]]:
    """What thieves do with one card between two moments; each episode in order of time."""
    start, end = span
    years = (end - start) / (365.25 * clock.DAY_S)
    found: list[list[Swipe]] = []
    for pattern, share in YEARLY_SHARE.items():
        if years > 0 and chance.random() < share / 1000 * years:
            moment = start + int(chance.random() * (end - start))
            found.append(_MAKE[pattern](chance, own, moment, thousand_minor))
    leak = next((s for s in own if _leaks(seed, s)), None)
    if leak and chance.random() < LEAKED_SHARE:
        moment = leak.moment + int(chance.uniform(8, 60) * clock.DAY_S)
        found.append(_bought_numbers(chance, own, moment, thousand_minor))
    return [episode for episode in found if episode]


def _leaks(seed: int, swipe: Swipe) -> bool:
    period, leaking = divmod(swipe.moment // clock.DAY_S, 90)
    return leaking < LEAK_DAYS and swipe.merchant == _leaking(seed, period)


@lru_cache(maxsize=1_000)
def _leaking(seed: int, period: int) -> str:
    """The one merchant whose terminals are read by others in this quarter's first weeks."""
    chance = random.Random(f"{seed}/leak/{period}")
    kind = BY_NAME[chance.choice(("restaurant", "fuel", "online shop"))]
    return merchant_id(kind, chance, chance.choice(("US", "GB", "DE")), chance.randint(1, 5))


def _testing(
    chance: random.Random, own: Sequence[Swipe], moment: int, thousand_minor: int
) -> list[Swipe]:
    """Small amounts in a burst, to see whether the number works; then a large one."""
    small, large = BY_NAME["digital goods"], BY_NAME["electronics"]
    merchant = merchant_id(small, chance, "US")
    found = []
    for _ in range(chance.randint(5, 9)):
        amount = max(1, int(thousand_minor * chance.uniform(0.0003, 0.0019)))
        found.append(
            _swipe(chance, moment, small, amount, CARD_TESTING, merchant=merchant, country="US")
        )
        moment += chance.randint(15, 90)
    for _ in range(chance.randint(1, 3)):
        moment += chance.randint(120, 1_500)
        amount = int(thousand_minor * chance.uniform(0.4, 1.6))
        found.append(_swipe(chance, moment, large, amount, CARD_TESTING))
    return found


def _stolen(
    chance: random.Random, own: Sequence[Swipe], moment: int, thousand_minor: int
) -> list[Swipe]:
    """The card itself is used abroad, minutes after its holder used it at home."""
    before = [s for s in own if s.moment <= moment and s.channel != "ECOMMERCE"]
    if not before:
        return []
    last = before[-1]
    moment = last.moment + chance.randint(1_200, 5_400)
    country = chance.choice([c for c in RISKY_COUNTRIES if c != last.country])
    found = []
    for _ in range(chance.randint(2, 6)):
        kind = BY_NAME[chance.choice(("electronics", "fuel", "pharmacy", "cash"))]
        channel = "ATM" if kind.name == "cash" else "CONTACTLESS"
        amount = int(thousand_minor * chance.uniform(0.05, 0.5))
        found.append(
            _swipe(chance, moment, kind, amount, STOLEN_CARD, country=country, channel=channel)
        )
        moment += chance.randint(600, 4_000)
    return found


def _takeover(
    chance: random.Random, own: Sequence[Swipe], moment: int, thousand_minor: int
) -> list[Swipe]:
    """Somebody else is the customer for a night: few, large, online, far away."""
    found = []
    for _ in range(chance.randint(2, 4)):
        kind = BY_NAME[chance.choice(("electronics", "online shop", "gambling"))]
        amount = int(thousand_minor * chance.uniform(0.5, 2.5))
        country = chance.choice(COUNTRIES)
        found.append(_swipe(chance, moment, kind, amount, ACCOUNT_TAKEOVER, country=country))
        moment += chance.randint(900, 12_000)
    return found


def _bought_numbers(
    chance: random.Random, own: Sequence[Swipe], moment: int, thousand_minor: int
) -> list[Swipe]:
    """Numbers that a merchant leaked are sold and used weeks later, at middling amounts."""
    found = []
    for _ in range(chance.randint(1, 4)):
        kind = BY_NAME[chance.choice(("online shop", "electronics", "digital goods"))]
        amount = int(thousand_minor * chance.uniform(0.08, 0.6))
        found.append(_swipe(chance, moment, kind, amount, MERCHANT_COMPROMISE))
        moment += chance.randint(3_600, 90_000)
    return found


def bust_out(
    chance: random.Random, card: int, moment: int, limit_minor: int, country: str
) -> list[Swipe]:
    """The holder spends all that is there within days, and is never heard of again."""
    found = []
    for _ in range(chance.randint(6, 10)):
        kind = BY_NAME[chance.choice(("electronics", "online shop", "cash"))]
        channel = "ATM" if kind.name == "cash" else "ECOMMERCE"
        amount = max(1, int(limit_minor * chance.uniform(0.08, 0.22)))
        swipe = _swipe(chance, moment, kind, amount, BUST_OUT, country=country, channel=channel)
        swipe.card = card
        found.append(swipe)
        moment += chance.randint(7_200, 50_000)
    return found


def _swipe(
    chance: random.Random,
    moment: int,
    kind: Kind,
    amount_minor: int,
    pattern: str,
    *,
    merchant: str | None = None,
    country: str | None = None,
    channel: str = "ECOMMERCE",
) -> Swipe:
    country = country or chance.choice(COUNTRIES)
    return Swipe(
        moment,
        0,
        kind,
        max(1, amount_minor),
        merchant or merchant_id(kind, chance, country),
        country,
        channel,
        pattern,
    )


_Make = Callable[[random.Random, Sequence[Swipe], int, int], list[Swipe]]
_MAKE: dict[str, _Make] = {
    CARD_TESTING: _testing,
    STOLEN_CARD: _stolen,
    ACCOUNT_TAKEOVER: _takeover,
}
