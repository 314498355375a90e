"""Where cards are used: kinds of merchants, what they charge and how they settle. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from oltp.simulator import clock
from schemas.codes import Channel

MERCHANTS_OF_A_KIND = 40
COUNTRIES = ("US", "GB", "DE", "FR", "JP", "CZ", "ES", "IT", "TH", "BR")
RISKY_COUNTRIES = ("BR", "TH", "NG", "RO")


class Settling(StrEnum):
    """How a kind of merchant turns an authorization into clearings."""

    ONCE = "once"  # what was authorized, a day or three later
    TIP = "tip"  # more than was authorized, now and then
    FUEL = "fuel"  # a fixed amount is authorized, what was filled is cleared
    STAY = "stay"  # lodging: raised while it lasts, cleared at the end, held for up to 31 days
    PARTS = "parts"  # shipped, and cleared, in parts


@dataclass(frozen=True)
class Kind:
    """Merchants of one category; `typical` is a share of a thousand dollars."""

    name: str
    mcc: str
    weight: float
    typical: float
    spread: float
    channels: tuple[Channel, ...]
    hours: tuple[int, ...]
    settling: Settling = Settling.ONCE
    is_foreign: float = 0.03


IN_SHOP = (Channel.CONTACTLESS, Channel.CHIP, Channel.CONTACTLESS)
ONLINE = (Channel.ECOMMERCE,)
KINDS = (
    Kind("groceries", "5411", 30, 0.040, 0.6, IN_SHOP, clock.SHOPPING),
    Kind("restaurant", "5812", 16, 0.032, 0.5, IN_SHOP, clock.SHOPPING, Settling.TIP, 0.06),
    Kind("fuel", "5541", 9, 0.045, 0.35, (Channel.CHIP,), clock.SHOPPING, Settling.FUEL),
    Kind("transport", "4111", 12, 0.003, 0.4, (Channel.CONTACTLESS,), clock.OFFICE),
    Kind("online shop", "5999", 13, 0.055, 0.8, ONLINE, clock.SHOPPING, Settling.PARTS, 0.15),
    Kind("electronics", "5732", 4, 0.280, 0.8, (*ONLINE, Channel.CHIP), clock.SHOPPING),
    Kind("pharmacy", "5912", 6, 0.020, 0.5, IN_SHOP, clock.SHOPPING),
    Kind("lodging", "7011", 2.5, 0.220, 0.5, ONLINE, clock.OFFICE, Settling.STAY, 0.45),
    Kind("car rental", "7512", 0.8, 0.300, 0.4, (Channel.CHIP,), clock.OFFICE, Settling.STAY, 0.5),
    Kind("digital goods", "5815", 6, 0.012, 0.4, ONLINE, clock.SHOPPING, Settling.ONCE, 0.3),
    Kind("gambling", "7995", 0.7, 0.080, 0.9, ONLINE, clock.NIGHT, Settling.ONCE, 0.5),
    Kind("cash", "6011", 4, 0.150, 0.5, (Channel.ATM,), clock.SHOPPING, Settling.ONCE, 0.05),
)
BY_NAME = {kind.name: kind for kind in KINDS}
_WEIGHTS = tuple(accumulate(kind.weight for kind in KINDS))


@dataclass(slots=True)
class Swipe:
    """One use of a card, before anybody has decided on it. `fraud` names its pattern, if it is."""

    moment: int
    card: int
    kind: Kind
    amount_minor: int
    merchant: str
    country: str
    channel: str
    fraud: str | None = None
    currency: str | None = None
    episode: int = 0


def any_kind(chance: random.Random) -> Kind:
    """A kind, as often as cards are used there."""
    return chance.choices(KINDS, cum_weights=_WEIGHTS)[0]


def merchant_id(kind: Kind, chance: random.Random, country: str, number: int | None = None) -> str:
    """One of the merchants of a kind in a country; the first ones are the largest."""
    if number is None:
        number = 1 + int(MERCHANTS_OF_A_KIND * chance.random() ** 2)
    return f"M-{kind.mcc}-{country}-{number:03}"


def amount(kind: Kind, chance: random.Random, thousand_minor: int, currency: str) -> int:
    """An amount as such a merchant charges it: prices end in 9 or 5, cash and fuel are round."""
    minor = chance.lognormvariate(0, kind.spread) * kind.typical * thousand_minor
    if kind.mcc == "6011":
        step = thousand_minor // 50
        return max(step, round(minor / step) * step)
    if currency != "JPY" and chance.random() < 0.4:
        return max(99, int(minor) // 100 * 100 + chance.choice((99, 95, 50)))
    return max(1, int(minor))
