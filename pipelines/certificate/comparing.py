"""The hops of one entity's window, compared, pure: the figures of each, and every break by name.

Input: what the source says (figures) and what the lake holds (changes). The source's changes and
the log are read only when something differs. On replay: the same window gives the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.certificate import drilling
from pipelines.certificate.drilling import Arrival, Break, Change, Identity


@dataclass(frozen=True)
class Figures:
    """A hop in numbers: how many changes, and the sum of their digests in any order."""

    changes: int = 0
    digest: int = 0
    duplicates: int = 0
    quarantined: int = 0
    reordered: int = 0

    def agrees(self, other: Figures) -> bool:
        """The same changes, whatever came twice on the way."""
        return (self.changes, self.digest) == (other.changes, other.digest)


@dataclass(frozen=True)
class Evidence:
    """What the lake holds of an entity's window.

    `expected` are the changes that silver must have (bronze's, conformed), `silver` those it has;
    `last` are the states that history calls the last, `current` those of the current table, and
    `shown` the same with the columns that are published.
    """

    entity: str
    bronze: Sequence[Arrival] = ()
    expected: Sequence[Change] = ()
    silver: Sequence[Change] = ()
    # Changes committed before the window that history did not have then.
    late: Sequence[Change] = ()
    last: Sequence[Change] = ()
    current: Sequence[Change] = ()
    shown: Sequence[Change] = ()
    # Records without a readable change; they are in quarantine.
    unreadable: int = 0


@dataclass(frozen=True)
class Verdict:
    """One entity's window after the comparison."""

    entity: str
    hops: dict[str, Figures] = field(default_factory=dict)
    breaks: tuple[Break, ...] = ()

    @property
    def holds(self) -> bool:
        """Nothing differs but what the contract of a hop allows."""
        return all(one.is_lawful for one in self.breaks)


def judge(
    source: Figures,
    evidence: Evidence,
    source_changes: Callable[[], Iterable[Change]],
    log: Callable[[], Sequence[Arrival] | None],
) -> Verdict:
    """Compare source, bronze, silver and current. `log` is None when Kafka cannot say any more."""
    entity = evidence.entity
    first, again = drilling.first_arrivals(evidence.bronze)
    quarantined = {name for name, a in first.items() if a.is_quarantined}
    arrived = [a.change for a in first.values()]
    bronze = Figures(
        *_sums(arrived),
        duplicates=len(again),
        quarantined=len(quarantined) + evidence.unreadable,
        reordered=len(drilling.inversions(first.values())),
    )
    breaks: list[Break] = []
    in_silver = _without(evidence.silver, quarantined)
    expected = _without(evidence.expected, quarantined)
    if not source.agrees(bronze) or again or bronze.reordered:
        wanted = None if source.agrees(bronze) else list(source_changes())
        in_log = log()
        breaks += _of_bronze(entity, wanted, evidence.bronze, in_log)
        expected = _as_silver_found_them(expected, in_silver, in_log or ())
    # All that was committed before the window had been seen: these were made up.
    breaks += drilling.differences(entity, "capture", (), evidence.late)
    breaks += drilling.differences(entity, "silver", expected, in_silver)
    breaks += drilling.differences(entity, "current", evidence.last, evidence.current)
    hops = {
        "source": source,
        "bronze": bronze,
        "silver": Figures(*_sums(in_silver), quarantined=len(quarantined)),
        "current": Figures(*_sums(evidence.current)),
    }
    return Verdict(entity, hops, tuple(breaks))


def with_warehouse(verdict: Verdict, states: Sequence[Change], shown: Sequence[Change]) -> Verdict:
    """The verdict with its last hop: what the warehouse shows of the states that it should."""
    found = drilling.differences(verdict.entity, "warehouse", states, shown)
    hops = verdict.hops | {"warehouse": Figures(*_sums(shown))}
    return Verdict(verdict.entity, hops, (*verdict.breaks, *found))


def _of_bronze(
    entity: str,
    source: Sequence[Change] | None,
    bronze: Sequence[Arrival],
    log: Sequence[Arrival] | None,
) -> list[Break]:
    if log is not None:
        of_log = drilling.of_the_log(entity, log, bronze)
        return drilling.in_the_log(entity, source, log) + of_log
    # Kafka has let go of them: whether capture or bronze is to blame can no longer be told.
    doubled = drilling.of_the_log(entity, bronze, bronze)
    return drilling.in_the_log(entity, source, bronze) + doubled


def _as_silver_found_them(
    expected: Sequence[Change], in_silver: Sequence[Change], log: Sequence[Arrival]
) -> list[Change]:
    """What bronze lost or changed after silver had taken it in is bronze's break alone."""
    told = {change.identity: change for change in expected}
    first, _ = drilling.first_arrivals(log)
    for change in in_silver:
        arrival = first.get(change.identity)
        if arrival and arrival.change == change:
            told[change.identity] = change
    return list(told.values())


def _without(changes: Iterable[Change], names: set[Identity]) -> list[Change]:
    return [change for change in changes if change.identity not in names]


def _sums(changes: Sequence[Change]) -> tuple[int, int]:
    return len(changes), sum(change.digest for change in changes)
