"""Features, declared once: what each one is, never how it is computed.

A window is left-open and right-closed, (t - window, t]. Attempts count approvals and declines
alike. There are two groups; a name that is in both has another definition, and version, in each:

* Served features (FEATURES), of cards and accounts: `streams/risk` keeps them in Redis from the
  log, an offline interpreter computes the same from silver. They follow decisions as late as the
  log does; an attempt is in its own window; spend is the amount asked for by approved requests.
* Decision features (DECISION_FEATURES), of cards: `streams/authorization/history.py` computes them
  from exactly the card's decisions before the one that is taken. That one is never in its window:
  a rule counts it on top. Spend is the amount approved, and a window holds at most MOST_ATTEMPTS.
  They are stored with the decision, with their versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.codes import Channel


class Operation(StrEnum):
    """How the window's authorizations become one number."""

    COUNT = "count"
    SUM = "sum"
    DISTINCT = "distinct"


@dataclass(frozen=True)
class Feature:
    """One number per entity and moment. `where` is a decision code, or empty for every attempt."""

    name: str
    entity: str
    operation: Operation
    window_s: int
    value: str = ""
    where: str = ""
    default: int = 0
    owner: str = "risk"
    version: int = 1


CARD = "card"
ACCOUNT = "account"
ENTITIES = (CARD, ACCOUNT)
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 24 * 3600
WEEK_S = 7 * DAY_S
APPROVED, DECLINED = "APPROVED", "DECLINED"

FEATURES: tuple[Feature, ...] = (
    Feature("card_attempts_1m", CARD, Operation.COUNT, MINUTE_S),
    Feature("card_attempts_5m", CARD, Operation.COUNT, 5 * MINUTE_S),
    Feature("card_attempts_1h", CARD, Operation.COUNT, HOUR_S),
    Feature("card_attempts_24h", CARD, Operation.COUNT, DAY_S),
    Feature("card_declines_1h", CARD, Operation.COUNT, HOUR_S, where=DECLINED),
    Feature("card_spend_1h", CARD, Operation.SUM, HOUR_S, value="amount_minor", where=APPROVED),
    Feature("card_spend_24h", CARD, Operation.SUM, DAY_S, value="amount_minor", where=APPROVED),
    Feature("card_spend_7d", CARD, Operation.SUM, WEEK_S, value="amount_minor", where=APPROVED),
    Feature("card_merchants_24h", CARD, Operation.DISTINCT, DAY_S, value="merchant_id"),
    Feature("card_countries_24h", CARD, Operation.DISTINCT, DAY_S, value="merchant_country"),
    Feature("account_attempts_1h", ACCOUNT, Operation.COUNT, HOUR_S),
    Feature("account_attempts_24h", ACCOUNT, Operation.COUNT, DAY_S),
    Feature(
        "account_spend_24h", ACCOUNT, Operation.SUM, DAY_S, value="amount_minor", where=APPROVED
    ),
    Feature(
        "account_spend_7d", ACCOUNT, Operation.SUM, WEEK_S, value="amount_minor", where=APPROVED
    ),
)


def of(entity: str) -> tuple[Feature, ...]:
    """The features of `entity`; KeyError naming the entities when it has none."""
    if entity not in ENTITIES:
        raise KeyError(f"no features for {entity!r}; there are {', '.join(ENTITIES)}")
    return tuple(feature for feature in FEATURES if feature.entity == entity)


@dataclass(frozen=True)
class DecisionFeature:
    """One number about a card when a request is judged; None where the meaning says unknown."""

    name: str
    window_s: int
    meaning: str
    unit: str = "attempts"
    version: int = 1


DECISION_SET = "card.v2"
# A window holds no more: a count stands still here, and what a card costs in memory is bounded.
MOST_ATTEMPTS = 2000
PRESENT_CHANNELS = frozenset({Channel.CHIP.value, Channel.CONTACTLESS.value, Channel.ATM.value})
# An amount below this tests a card rather than buys something. A currency without one has none.
SMALL_BELOW_MINOR = {"USD": 200, "EUR": 200, "GBP": 200, "CZK": 5000, "JPY": 300, "KWD": 600}

DECISION_FEATURES: tuple[DecisionFeature, ...] = (
    DecisionFeature("card_attempts_1m", MINUTE_S, "attempts", version=2),
    DecisionFeature("card_attempts_5m", 5 * MINUTE_S, "attempts", version=2),
    DecisionFeature("card_attempts_1h", HOUR_S, "attempts", version=2),
    DecisionFeature("card_attempts_24h", DAY_S, "attempts", version=2),
    DecisionFeature("card_declines_1h", HOUR_S, "declined attempts", version=2),
    DecisionFeature("card_spend_1h", HOUR_S, "approved amounts, summed", "minor units", 2),
    DecisionFeature("card_spend_24h", DAY_S, "approved amounts, summed", "minor units", 2),
    DecisionFeature("card_merchants_24h", DAY_S, "different merchants", "merchants", 2),
    DecisionFeature("card_countries_24h", DAY_S, "different countries", "countries", 2),
    DecisionFeature(
        "card_small_amounts_10m", 10 * MINUTE_S,
        "attempts below SMALL_BELOW_MINOR, zero too, without the card being there: a stolen number"
        " is tried out online, while a fare is paid in small amounts all day",
    ),
    DecisionFeature("card_not_present_1h", HOUR_S, "attempts without the card being there"),
    DecisionFeature(
        "card_seconds_since_last", DAY_S, "since the last attempt, rounded down; unknown without",
        "seconds",
    ),
    DecisionFeature(
        "card_travel_kmh", DAY_S,
        "speed from where the card was last present and accepted; unknown when it is not present"
        " now, was not before, or a country's place is not known",
        "km/h",
    ),
    DecisionFeature(
        "card_travel_km", DAY_S,
        "the distance of that travel: between terminals that tell where they stand, else what lies"
        " at least between the two countries",
        "km",
    ),
    DecisionFeature("card_is_new_merchant", DAY_S, "1 when not yet at this merchant", "flag"),
    DecisionFeature("card_is_new_country", DAY_S, "1 when not yet in this country", "flag"),
)  # fmt: skip
DECISION_VERSIONS = {feature.name: feature.version for feature in DECISION_FEATURES}
