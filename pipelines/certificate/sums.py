"""A count and an order-free digest: equal sums are equal sets of texts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def some_of(
    above: Mapping[int, Sum], here: Mapping[int, Sum], limit: int
) -> tuple[list[int], bool]:
    """Buckets whose sums differ: as many as have `limit` texts together, one at least.

    The second says whether others were left out.
    """
    nothing = Sum()
    buckets = sorted(
        bucket
        for bucket in above.keys() | here.keys()
        if above.get(bucket, nothing) != here.get(bucket, nothing)
    )
    sizes = [max(above.get(b, nothing).changes, here.get(b, nothing).changes) for b in buckets]
    return within(buckets, sizes, limit)


def within(buckets: Sequence[int], sizes: Sequence[int], limit: int) -> tuple[list[int], bool]:
    """The first of these buckets, as many as have `limit` texts together, one at least."""
    taken: list[int] = []
    whole = 0
    for bucket, size in zip(buckets, sizes, strict=True):
        if taken and whole + size > limit:
            break
        taken.append(bucket)
        whole += size
    return taken, len(taken) < len(buckets)
