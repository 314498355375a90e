"""Velocity features: what an authorization adds to a set, and a set's vector at a moment. Pure.

A window is left-open and right-closed, (t - window, t], in whole milliseconds of the decision's
time. The vector depends on the members alone, so a replay, in any order, gives the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas import features
from schemas.features import Feature, Operation

# A decision made this long after its row was written is wrong, and would empty the windows.
FUTURE_MS = 5 * 60 * 1000
ID_COLUMN = {features.CARD: "card_id", features.ACCOUNT: "account_id"}


@dataclass(frozen=True)
class Attempt:
    """One authorization as the windows see it."""

    authorization_id: str
    decided_at_ms: int
    decision: str
    amount_minor: int
    merchant_id: str
    merchant_country: str

    def member(self) -> str:
        """The member of the sorted set: the same for every delivery of the same authorization."""
        return json.dumps(
            [
                self.authorization_id,
                self.decision,
                self.amount_minor,
                self.merchant_id,
                self.merchant_country,
            ]
        )


def attempt(row: Mapping[str, Any]) -> Attempt:
    """The attempt that a row of card.authorizations, from capture or database, tells of."""
    return Attempt(
        str(row["authorization_id"]),
        milliseconds(row["decided_at"]),
        row["decision"],
        int(row["amount_minor"]),
        row["merchant_id"],
        row["merchant_country"],
    )


def parse(member: str, score: float) -> Attempt:
    """An attempt as it was written by `member`, with its score."""
    authorization_id, decision, amount_minor, merchant_id, country = json.loads(member)
    return Attempt(authorization_id, int(score), decision, amount_minor, merchant_id, country)


def is_plausible(candidate: Attempt, changed_at_ms: int) -> bool:
    """False for a decision from the future of its own row."""
    return candidate.decided_at_ms <= changed_at_ms + FUTURE_MS


def vector(entity: str, attempts: Iterable[Attempt], at_ms: int) -> dict[str, int]:
    """Every feature of `entity` at the moment, the attempt at that very millisecond included."""
    seen = tuple(attempts)
    return {feature.name: _value(feature, seen, at_ms) for feature in features.of(entity)}


def milliseconds(moment: datetime | str | int) -> int:
    """A time as capture or database gives it, in whole milliseconds since 1970, rounded down."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400_000) + since.seconds * 1000 + since.microseconds // 1000
    return moment // 1000


def _value(feature: Feature, attempts: tuple[Attempt, ...], at_ms: int) -> int:
    opens_ms = at_ms - feature.window_s * 1000
    inside = [
        one
        for one in attempts
        if opens_ms < one.decided_at_ms <= at_ms
        and (not feature.where or one.decision == feature.where)
    ]
    if not inside:
        return feature.default
    if feature.operation is Operation.COUNT:
        return len(inside)
    values = [getattr(one, feature.value) for one in inside]
    return sum(values) if feature.operation is Operation.SUM else len(set(values))
