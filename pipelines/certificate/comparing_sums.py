"""A window that is too large to be brought, compared by its sums, pure: what differs is brought.

Input: sums per key bucket of every hop. Where all agree nothing else is read. Where some differ,
the rows of those buckets are compared change by change, as many as `limit` says: a break of more
says "at least". On replay: the same window gives the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pipelines.certificate import comparing, drilling
from pipelines.certificate.comparing import Evidence, Figures, Verdict
from pipelines.certificate.drilling import Arrival, Break, Change
from pipelines.certificate.sums import Sum, total, within

Buckets = Sequence[int]
Sums = Mapping[str, Mapping[int, Sum]]
ROWS_LOOKED_AT = 20_000
# Sums that are to be equal, and the hop that is wrong when they are not.
_PAIRS = (("expected", "silver", "silver"), ("last", "current", "current"))
# None of these may be: changes moved, copies that say otherwise, changes made up.
_FAULTS = {"moved": "capture", "altered": "capture", "late": "capture"}


@dataclass(frozen=True)
class Tallied:
    """What the lake holds of a large window: sums, and the rows of some buckets when asked."""

    entity: str
    sums: Sums
    rows: Callable[[Buckets], Evidence]
    # The published rows of the window are those of later batches.
    shown_after: int

    def of(self, name: str) -> Mapping[int, Sum]:
        """One sum of every bucket."""
        return self.sums.get(name, {})

    def count(self, name: str) -> int:
        """How many there are of it."""
        return total(self.of(name).values()).changes


class Source(Protocol):
    """The source's changes of the window, read again when something differs."""

    def sums(self) -> Mapping[int, Sum]:
        """Per key bucket (canonical.WINDOW_BUCKETS of them)."""

    def changes(self, buckets: Buckets | None = None) -> list[Change]:
        """All of them, or those of some buckets."""


class Log(Protocol):
    """The window's records in Kafka; None when it has let go of them."""

    def sums(self) -> Sums | None:
        """As tallying.tallied has them."""

    def arrivals(self, buckets: Buckets | None = None) -> list[Arrival] | None:
        """All of them, or those of some buckets."""


def judge(
    source: Figures, held: Tallied, told: Source, log: Log, limit: int = ROWS_LOOKED_AT
) -> Verdict:
    """Compare source, bronze, silver and current."""
    whole = total(held.of("bronze").values())
    bronze = Figures(
        whole.changes,
        whole.digest,
        duplicates=held.count("duplicates"),
        quarantined=held.count("kept_out") + held.count("unreadable"),
        reordered=held.count("moved"),
    )
    wrong = _wrong(source, bronze, held, told, log)
    # Copies are lawful; they are told apart from what is not by looking.
    suspects = [*wrong, *(b for b in held.of("duplicates") if b not in wrong)]
    breaks: list[Break] = []
    if suspects:
        sizes = [max(held.of(n).get(b, Sum()).changes for n in ("places", "silver", "last"))
                 for b in suspects]  # fmt: skip
        buckets, is_partial = within(suspects, sizes, limit)
        breaks = _looked_into(source, bronze, held, told, log, buckets)
        breaks = [replace(one, is_partial=is_partial) for one in breaks]
        if wrong and all(one.is_lawful for one in breaks):
            # Sums that differ are sets that differ, also when looking does not show how.
            hop = next(iter(wrong.values()))
            breaks.append(Break(held.entity, hop, drilling.ALTERED, 1, "", "", 0, 0,
                                is_partial=True))  # fmt: skip
    silver, current = (total(held.of(f"{hop}_digest").values()) for hop in ("silver", "current"))
    hops = {
        "source": source,
        "bronze": bronze,
        "silver": Figures(silver.changes, silver.digest, quarantined=held.count("kept_out")),
        "current": Figures(current.changes, current.digest),
    }
    return Verdict(held.entity, hops, tuple(breaks))


def with_warehouse(
    verdict: Verdict,
    held: Tallied,
    shown: Sums,
    found: Callable[[Buckets, Iterable[str]], list[Change]],
    limit: int = ROWS_LOOKED_AT,
) -> Verdict:
    """The verdict with its last hop. `found` are published states of keys and of buckets."""
    differing = _differing(held, shown, ("shown", "shown_places"))
    breaks: list[Break] = []
    if differing:
        sizes = [held.of("shown").get(b, Sum()).changes for b in differing]
        buckets, is_partial = within(differing, sizes, limit)
        wanted = held.rows(buckets).shown
        there = found(buckets, (change.key for change in wanted))
        breaks = drilling.differences(verdict.entity, "warehouse", wanted, there)
        breaks = [replace(one, is_partial=is_partial) for one in breaks]
    whole = total(shown.get("shown", {}).values())
    hops = verdict.hops | {"warehouse": Figures(whole.changes, whole.digest)}
    return Verdict(verdict.entity, hops, (*verdict.breaks, *breaks))


def _wrong(
    source: Figures, bronze: Figures, held: Tallied, told: Source, log: Log
) -> dict[int, str]:
    """Buckets in which something is surely not as it should be, and at which hop."""
    wrong: dict[int, str] = {}
    if not source.agrees(bronze):
        of_source = {"bronze": told.sums()}
        wrong |= dict.fromkeys(_differing(held, of_source, ("bronze",)), "bronze")
    if not source.agrees(bronze) or bronze.duplicates or bronze.reordered:
        in_log = log.sums()
        if in_log is not None:
            wrong |= dict.fromkeys(_differing(held, in_log, ("places",)), "bronze")
    for name, hop in _FAULTS.items():
        wrong |= {b: wrong.get(b, hop) for b in held.of(name)}
    for above, here, hop in _PAIRS:
        for bucket in held.of(above).keys() | held.of(here).keys():
            if held.of(above).get(bucket, Sum()) != held.of(here).get(bucket, Sum()):
                wrong.setdefault(bucket, hop)
    return dict(sorted(wrong.items()))


def _differing(held: Tallied, other: Sums, names: Iterable[str]) -> list[int]:
    found = set()
    for name in names:
        ours, theirs = held.of(name), other.get(name, {})
        found |= {b for b in ours.keys() | theirs.keys()
                  if ours.get(b, Sum()) != theirs.get(b, Sum())}  # fmt: skip
    return sorted(found)


def _looked_into(
    source: Figures, bronze: Figures, held: Tallied, told: Source, log: Log, buckets: Buckets
) -> list[Break]:
    """Every break in these buckets, from their changes."""
    evidence = held.rows(buckets)
    agrees = source.agrees(bronze)
    changes = [] if agrees else told.changes(buckets)
    first, _ = drilling.first_arrivals(evidence.bronze)
    of_bronze = [arrival.change for arrival in first.values()]
    figures = [Figures(len(some), sum(c.digest for c in some)) for some in (of_bronze, changes)]
    verdict = comparing.judge(
        figures[0] if agrees else figures[1],
        evidence,
        lambda: changes,
        lambda: log.arrivals(buckets),
    )
    return list(verdict.breaks)
