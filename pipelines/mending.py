"""What people may decide about quarantined changes: fix, release, hold back; each said with why.

A change is held -> fixed -> released -> applied, and held again when it is still broken. Each
decision is checked against how the changes stand at that moment, entity by entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

from pipelines import decisions
from pipelines.decisions import APPLIED, FIXED, HELD, RELEASED, Decision, Row, Standing
from pipelines.patches import Patch
from pipelines.quarantined import Quarantined

# A patch lies over a row; these have one, and an order that it takes its place in.
WITH_ROW = ("c", "u", "r")


def fix(
    lake_folder: Path, chosen: Iterable[Quarantined], patch: Patch, by: str, why: str
) -> dict[str, str]:
    """Lay the patch over each change; the names of those that it cannot be laid over, and why."""

    def row(one: Quarantined, before: Standing | None) -> Row:
        # A second fix adds to the first.
        return Row(one.identity, one.place, {**_patch(before), **patch})

    return _decide(lake_folder, chosen, Decision(FIXED, (), by, why), row, cannot_be_fixed)


def release(lake_folder: Path, chosen: Iterable[Quarantined], by: str, why: str) -> dict[str, str]:
    """Give each change to the next build, with its fix if it has one; who cannot go, and why."""

    def row(one: Quarantined, before: Standing | None) -> Row:
        return Row(one.identity, one.place, _patch(before) or None)

    return _decide(lake_folder, chosen, Decision(RELEASED, (), by, why), row, cannot_be_released)


def hold(lake_folder: Path, chosen: Iterable[Quarantined], by: str, why: str) -> dict[str, str]:
    """Take back fixes and releases that no build has taken; who cannot be held, and why."""

    def row(one: Quarantined, before: Standing | None) -> Row:
        return Row(one.identity, one.place, None, one.reasons)

    return _decide(lake_folder, chosen, Decision(HELD, (), by, why), row, cannot_be_held)


def cannot_be_fixed(one: Quarantined, state: str) -> str | None:
    """Why not, or None."""
    if state in (RELEASED, APPLIED):
        return f"it is {state} already"
    if one.lsn is None or one.op not in WITH_ROW:
        said = ", ".join(one.rules)
        return f"there is no row to fix ({said}); release it once its cause is mended"
    return None


def cannot_be_released(one: Quarantined, state: str) -> str | None:
    """Why not, or None."""
    if state in (RELEASED, APPLIED):
        return f"it is {state} already"
    return "a truncate is no row" if "truncate" in one.rules else None


def cannot_be_held(one: Quarantined, state: str) -> str | None:
    """Why not, or None."""
    if state == APPLIED:
        return "it is applied already: correct it at its source, whose change comes after it"
    return "it is held already" if state == HELD else None


def _patch(standing: Standing | None) -> Mapping[str, str | None]:
    """The fix that stands; one that was still broken stands too, to be added to."""
    return (standing.row.patch if standing else None) or {}


def _decide(
    lake_folder: Path,
    chosen: Iterable[Quarantined],
    decision: Decision,
    row: Callable[[Quarantined, Standing | None], Row],
    refusal: Callable[[Quarantined, str], str | None],
) -> dict[str, str]:
    refused: dict[str, str] = {}
    ordered = sorted(chosen, key=lambda one: one.entity)
    for entity, changes in groupby(ordered, key=lambda one: one.entity):
        after = decisions.last(lake_folder, entity)
        stand = decisions.standing(decisions.all_of(lake_folder, entity))
        rows = []
        for one in changes:
            before = stand.get(one.identity)
            why_not = refusal(one, before.state if before else HELD)
            if why_not:
                refused[one.name] = why_not
            else:
                rows.append(row(one, before))
        if rows:
            said = Decision(decision.state, tuple(rows), decision.by, decision.why)
            decisions.decide(lake_folder, entity, said, after)
    return refused
