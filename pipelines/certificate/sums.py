"""A count and an order-free digest: equal sums are equal sets of texts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sum:
    """How many texts, and the exact sum of their digests."""

    changes: int = 0
    digest: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.changes + other.changes, self.digest + other.digest)


# entity -> key bucket -> sum; a bucket without texts has none.
Sums = Mapping[str, Mapping[int, Sum]]


def total(buckets: Iterable[Sum]) -> Sum:
    """The sum over buckets."""
    whole = Sum()
    for part in buckets:
        whole += part
    return whole
