"""Authorization requests as a network sends them: mostly good, some not, a few repeated. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from uuid import UUID

from oltp.simulator.world import THOUSAND_MINOR
from schemas.codes import Channel

# Merchant category, typical amount as a share of a thousand dollars, channels.
MERCHANTS = (
    ("5411", 0.04, (Channel.CHIP, Channel.CONTACTLESS)),  # groceries
    ("5812", 0.03, (Channel.CONTACTLESS,)),  # restaurants
    ("5541", 0.05, (Channel.CHIP,)),  # fuel
    ("4111", 0.003, (Channel.CONTACTLESS,)),  # transport
    ("5732", 0.40, (Channel.ECOMMERCE, Channel.CHIP)),  # electronics
    ("7995", 0.08, (Channel.ECOMMERCE,)),  # gambling: not for juniors
    ("6011", 0.15, (Channel.ATM,)),  # cash
)
COUNTRIES = ("US", "GB", "DE", "FR", "JP", "CZ")
EMBARGOED = "KP"


@dataclass(frozen=True)
class Card:
    """What the simulator knows of a card that may be swiped."""

    card_id: str
    currency: str
    country: str


@dataclass(frozen=True)
class Request:
    """One request; `is_repeat` marks one whose key was sent before, perhaps with a new amount."""

    card_id: str
    amount_minor: int
    currency: str
    merchant_id: str
    mcc: str
    merchant_country: str
    channel: str
    network_transaction_id: str
    is_repeat: bool = False

    def body(self) -> dict[str, str | int]:
        """The JSON of POST /v1/authorizations."""
        fields = dict(vars(self))
        del fields["is_repeat"]
        return fields


class Source:
    """An endless row of requests over some cards; the same seed and run give the same ones."""

    def __init__(self, cards: list[Card], seed: int, run: str) -> None:
        self._cards = cards
        self._run = run
        self._chance = random.Random(f"{seed}/requests")
        self._sent: list[Request] = []

    def next(self) -> Request:
        """The next one. A few of a hundred repeat an earlier one, as networks do on a timeout."""
        chance = self._chance
        dice = chance.random()
        if self._sent and dice < 0.03:
            return replace(chance.choice(self._sent), is_repeat=True)
        if self._sent and dice < 0.035:
            other = chance.choice(self._sent)
            return replace(other, amount_minor=other.amount_minor + 1, is_repeat=True)
        request = self._new(chance)
        self._sent.append(request)
        return request

    def _new(self, chance: random.Random) -> Request:
        card = chance.choice(self._cards)
        mcc, share, channels = chance.choice(MERCHANTS)
        typical = THOUSAND_MINOR[card.currency] * share
        channel = chance.choice(channels)
        # A card that is present is where its holder is, at home; online it buys everywhere.
        is_home = channel is not Channel.ECOMMERCE or chance.random() < 0.7
        request = Request(
            card_id=card.card_id,
            amount_minor=max(1, round(chance.lognormvariate(0, 0.6) * typical)),
            currency=card.currency,
            merchant_id=f"M-{mcc}-{chance.randint(1, 40):03}",
            mcc=mcc,
            merchant_country=card.country if is_home else chance.choice(COUNTRIES),
            channel=channel.value,
            network_transaction_id=f"{self._run}-{len(self._sent):07}",
        )
        return _odd(request, chance)


def _odd(request: Request, chance: random.Random) -> Request:
    """A few of a hundred are what a network also sends: checks, mistakes and attempts."""
    dice = chance.random()
    if dice < 0.01:
        unknown = UUID(int=chance.getrandbits(128), version=4)
        return replace(request, card_id=str(unknown))
    if dice < 0.02:
        return replace(request, amount_minor=0)
    if dice < 0.03:
        return replace(request, merchant_country=EMBARGOED)
    if dice < 0.04:
        other = "EUR" if request.currency != "EUR" else "USD"
        return replace(request, currency=other)
    if dice < 0.06:
        return replace(request, amount_minor=request.amount_minor * 100)
    # A copy of the card, far away.
    is_copied = dice < 0.063
    far = replace(request, merchant_country="BR", channel=Channel.CHIP.value)
    return far if is_copied else request
