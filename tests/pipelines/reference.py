"""Silver in plain Python: what history and current must say, whatever order the changes came in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

UNCHANGED = "__debezium_unavailable_value"


@dataclass(frozen=True)
class Change:
    """One captured change of one key. `values` holds what was carried, UNCHANGED where it was not.

    A key change is a delete and an insert at one LSN; `moved_from` is the old key of the insert.
    """

    key: Any
    op: str
    commit_lsn: int
    lsn: int
    changed_at: int
    values: dict[str, Any] = field(default_factory=dict, compare=False)
    moved_from: Any = None

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.commit_lsn, 0 if self.op == "r" else 1, self.lsn)


@dataclass
class State:
    """One row of history."""

    key: Any
    op: str
    order: tuple[int, int, int]
    values: dict[str, Any]
    is_deleted: bool
    changed_at: int
    valid_from: int = 0
    valid_to: int | None = None
    version: int = 0


def history(
    changes: Iterable[Change], truncates: Iterable[Change], tracked: Iterable[str]
) -> dict[Any, list[State]]:
    """Key -> its states in order: each change once, filled, ended by truncates, with intervals."""
    by_key: dict[Any, dict[tuple[int, int, int], Change]] = {}
    for change in changes:
        by_key.setdefault(change.key, {})[change.order] = change
    ends = sorted({t.order: t for t in truncates}.values(), key=lambda t: t.order)
    filled: dict[tuple[Any, tuple[int, int, int]], dict[str, Any]] = {}
    # In commit order over all keys: what a moved row did not carry is in the row it was.
    for change in sorted((c for own in by_key.values() for c in own.values()), key=_globally):
        own = sorted(o for o in by_key[change.key] if o < change.order)
        before = filled[change.key, own[-1]] if own else {}
        if change.moved_from is not None:
            before = before | filled.get((change.moved_from, change.order), {})
        carried = {n: v for n, v in change.values.items() if v != UNCHANGED}
        filled[change.key, change.order] = before | carried
    return {
        key: _dated(_ended(own, ends, lambda o, k=key: filled[k, o]), tuple(tracked))
        for key, own in by_key.items()
    }


def _globally(change: Change) -> tuple[Any, ...]:
    return (change.lsn, 0 if change.op == "d" else 1)


def _ended(own: dict[Any, Change], ends: list[Change], values: Any) -> list[State]:
    states: list[State] = []
    orders = sorted(own)
    for order, following in zip(orders, [*orders[1:], None], strict=True):
        change = own[order]
        row = values(order)
        states.append(State(change.key, change.op, order, row, change.op == "d", change.changed_at))
        if change.op == "d":
            continue
        for end in ends:
            if end.order > order and (following is None or end.order < following):
                states.append(State(change.key, "t", end.order, row, True, end.changed_at))
                break
    return states


def _dated(states: list[State], tracked: tuple[str, ...]) -> list[State]:
    latest, version, before = 0, 0, None
    for state in states:
        latest = max(latest, state.changed_at)
        said = (state.is_deleted, [state.values.get(n) for n in tracked])
        version += said != before
        before = said
        state.valid_from, state.version = latest, version
    for state, following in pairwise(states):
        state.valid_to = following.valid_from
    return states
