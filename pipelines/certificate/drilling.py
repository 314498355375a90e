"""Where two hops differ, and how, pure: set differences that end in a kind and a range of keys.

The identity of a change is (key, LSN, operation). A copy of it elsewhere in the log is lawful,
because capture delivers at least once; everything else that differs is a break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MISSING, EXTRA, ALTERED = "missing", "extra", "altered"
REORDERED, DUPLICATED = "re-ordered", "duplicated"
# A batch before every batch.
NOTHING = -1
HOPS = ("source", "capture", "bronze", "silver", "current", "warehouse")

Identity = tuple[str, int, str]


class Change(NamedTuple):
    """One change, or the state it left, at one hop. `order` is the commit before it."""

    key: str
    lsn: int
    op: str
    digest: int
    order: int = 0

    @property
    def identity(self) -> Identity:
        """What names it at every hop."""
        return self.key, self.lsn, self.op


class Arrival(NamedTuple):
    """A change at its place in the log.

    `is_moved`: it stands behind one that was committed after it; None when all of them are here,
    so that it can be seen.
    """

    change: Change
    partition: int
    offset: int
    is_quarantined: bool = False
    is_moved: bool | None = None


@dataclass(frozen=True)
class Break:
    """What differs from one hop to the next: `hop` is the one that does not have what it was told.

    `is_lawful` marks what the hop's contract allows and the next hop makes good, `is_partial` that
    not every key that may differ was looked at.
    """

    entity: str
    hop: str
    kind: str
    keys: int
    first_key: str
    last_key: str
    first_lsn: int
    last_lsn: int
    is_lawful: bool = False
    is_partial: bool = False

    def __str__(self) -> str:
        keys = self.first_key if self.keys == 1 else f"{self.first_key} .. {self.last_key}"
        many = f"at least {self.keys}" if self.is_partial else f"{self.keys}"
        return (
            f"{self.entity}: {self.kind} at {self.hop}, {many} keys ({keys}),"
            f" LSN {lsn_text(self.first_lsn)} .. {lsn_text(self.last_lsn)}"
        )


def differences(
    entity: str, hop: str, above: Iterable[Change], here: Iterable[Change]
) -> list[Break]:
    """What `hop` lacks, has too much or has otherwise than the hop above it."""
    told = {change.identity: change for change in above}
    has: dict[Identity, Change] = {}
    twice: list[Change] = []
    for change in here:
        if change.identity in has:
            twice.append(change)
        else:
            has[change.identity] = change
    shared = told.keys() & has.keys()
    found = {
        MISSING: [change for name, change in told.items() if name not in has],
        EXTRA: [change for name, change in has.items() if name not in told],
        ALTERED: [has[name] for name in shared if has[name].digest != told[name].digest],
        REORDERED: [has[name] for name in shared if _is_moved(told[name], has[name])],
        DUPLICATED: twice,
    }
    return [_break(entity, hop, kind, changes) for kind, changes in found.items() if changes]


def in_the_log(entity: str, source: Iterable[Change] | None, log: Sequence[Arrival]) -> list[Break]:
    """What capture made of the source's changes; without the source, only their order is judged."""
    first, again = first_arrivals(log)
    breaks = [] if source is None else _unordered(entity, "capture", source, first.values())
    moved = [arrival.change for arrival in inversions(first.values())]
    if moved:
        breaks.append(_break(entity, "capture", REORDERED, moved))
    # A copy that says something else is none: one of the two was altered.
    altered = [c for c in again if c.digest != first[c.identity].change.digest]
    if altered:
        breaks.append(_break(entity, "capture", ALTERED, altered))
    if again:
        breaks.append(_break(entity, "capture", DUPLICATED, again, is_lawful=True))
    return breaks


def of_the_log(entity: str, log: Sequence[Arrival], bronze: Sequence[Arrival]) -> list[Break]:
    """What bronze made of the log: record by record at its place, each exactly once."""
    told = {(a.partition, a.offset): a for a in log}
    places = Counter((a.partition, a.offset) for a in bronze)
    has = {(a.partition, a.offset): a for a in bronze}
    known = {a.change.identity for a in log}
    missing = [told[place].change for place in told.keys() - has.keys()]
    extra = [has[place].change for place in has.keys() - told.keys()]
    other = [p for p in told.keys() & has.keys() if told[p].change != has[p].change]
    # The same changes at each other's places were moved; anything else was altered.
    moved = Counter(told[p].change for p in other) & Counter(has[p].change for p in other)
    copies = [c for c in extra if c.identity in known]
    copies += [has[place].change for place, times in places.items() if times > 1]
    found = {
        MISSING: missing,
        EXTRA: [c for c in extra if c.identity not in known],
        ALTERED: [has[p].change for p in other if has[p].change not in moved],
        REORDERED: list(moved),
        DUPLICATED: copies,
    }
    return [_break(entity, "bronze", kind, changes) for kind, changes in found.items() if changes]


def first_arrivals(log: Iterable[Arrival]) -> tuple[dict[Identity, Arrival], list[Change]]:
    """(each change where it came first, the changes that came again)."""
    first: dict[Identity, Arrival] = {}
    again: list[Change] = []
    for arrival in sorted(log, key=lambda a: (a.partition, a.offset)):
        if arrival.change.identity in first:
            again.append(arrival.change)
        else:
            first[arrival.change.identity] = arrival
    return first, again


def inversions(first: Iterable[Arrival]) -> list[Arrival]:
    """Changes that stand behind one which was committed after them, in their partition."""
    highest: dict[int, tuple[int, int]] = {}
    moved = []
    for arrival in sorted(first, key=lambda a: (a.partition, a.offset)):
        position = (arrival.change.order, arrival.change.lsn)
        is_behind = position < highest.get(arrival.partition, (0, 0))
        if is_behind if arrival.is_moved is None else arrival.is_moved:
            moved.append(arrival)
        else:
            highest[arrival.partition] = position
    return moved


def doubled_places(log: Iterable[Arrival]) -> int:
    """Records that stand at a place where another one stands."""
    return sum(n - 1 for n in Counter((a.partition, a.offset) for a in log).values())


def lsn_text(lsn: int) -> str:
    """A position as Postgres prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def key_shown(key: str) -> str:
    """A key's text for people: its columns joined by a comma."""
    return key.replace("\x1f", ", ")


def _unordered(
    entity: str, hop: str, above: Iterable[Change], here: Iterable[Arrival]
) -> list[Break]:
    # The source's changes carry no order of their own: the log's order is judged by itself.
    told = [change._replace(order=0) for change in above]
    return differences(entity, hop, told, [a.change._replace(order=0) for a in here])


def _is_moved(told: Change, has: Change) -> bool:
    return has.digest == told.digest and has.order != told.order


def _break(
    entity: str, hop: str, kind: str, changes: Sequence[Change], *, is_lawful: bool = False
) -> Break:
    keys = sorted({key_shown(change.key) for change in changes})
    positions = [change.lsn for change in changes]
    ends = (keys[0], keys[-1], min(positions), max(positions))
    return Break(entity, hop, kind, len(keys), *ends, is_lawful=is_lawful)


def by_entity(breaks: Iterable[Break]) -> Mapping[str, list[Break]]:
    """The breaks of each entity, those that the contract allows left out."""
    found: dict[str, list[Break]] = {}
    for one in breaks:
        if not one.is_lawful:
            found.setdefault(one.entity, []).append(one)
    return found
