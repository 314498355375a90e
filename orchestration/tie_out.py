"""Tie-out: one figure in every layer, equal to the last unit or named. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# {"rows": n, "money": {column: {currency: sum}}} per entity, as a cut has it
Totals = Mapping[str, Any]
Place = tuple[str, str, str]
LAYERS = ("operational", "silver", "warehouse", "gold")


@dataclass(frozen=True)
class Figure:
    """Rows or a sum of money of one entity, in each layer; None where a layer has none."""

    entity: str
    measure: str
    currency: str
    operational: int | None
    silver: int | None
    warehouse: int | None
    gold: int | None

    @property
    def is_exact(self) -> bool:
        """Equal everywhere; there is no tolerance."""
        return len({self.operational, self.silver, self.warehouse, self.gold}) == 1

    def __str__(self) -> str:
        layers = ", ".join(f"{layer} {getattr(self, layer)}" for layer in LAYERS)
        return " ".join(filter(None, (self.entity, self.measure, self.currency))) + f": {layers}"


def compare(
    operational: Totals, silver: Totals, warehouse: Totals, gold: Mapping[Place, int]
) -> tuple[Figure, ...]:
    """Every figure that any layer has; a figure a layer lacks counts as zero there.

    A currency whose last row is gone is absent in one layer and zero in another: the same thing.
    """
    flat = (_flat(operational), _flat(silver), _flat(warehouse), dict(gold))
    places = sorted(set().union(*flat), key=lambda p: (p[0], p[1] != "rows", p))
    return tuple(Figure(*place, *(layer.get(place, 0) for layer in flat)) for place in places)


def _flat(totals: Totals) -> dict[Place, int]:
    figures: dict[Place, int] = {}
    for entity, of_entity in totals.items():
        figures[entity, "rows", ""] = of_entity["rows"]
        for column, by_currency in of_entity["money"].items():
            for currency, amount in by_currency.items():
                figures[entity, column, currency] = amount
    return figures
