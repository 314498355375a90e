"""Risk features, declared once: what each one is, never how it is computed.

`streams/risk` keeps them in Redis from the log; an offline interpreter computes the same from
silver. A window is left-open and right-closed, (t - window, t]. Attempts count approvals and
declines alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
