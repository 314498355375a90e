"""Lives of rows as a database leads them, and the disorder in which their changes may arrive."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.pipelines.reference import UNCHANGED, Change

# When the table is emptied; every life may lie before, around and after it.
TRUNCATES = (40_000, 70_000)
ERAS = ((10_000, 39_000), (41_000, 69_000), (71_000, 90_000))
BATCHES = 3
# What begins like this is stored out of line.
LARGE = "large"
# Positions of one life are those of no other, as in a log.
APART = 1000
STEPS = ("update", "update", "touch", "delete", "move", "move", "snapshot", "rollback", "again")


@dataclass
class Life:
    """The changes of one row (and of keys it moved to), and what the database has at the end."""

    changes: list[Change] = field(default_factory=list)
    alive: dict[int, dict[str, Any]] = field(default_factory=dict)
    # Of each change the batches it arrives in: once, or again as a replay.
    arrivals: list[list[int]] = field(default_factory=list)
    # Later ones of a batch come first where this is odd.
    shuffle: list[int] = field(default_factory=list)


def lives(count: int) -> list[Life]:
    """So many different lives, always the same ones."""
    found: list[Life] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(life())
    def collect(each: Life) -> None:
        number = len(found)
        each.changes = [
            replace(c, commit_lsn=c.commit_lsn * APART + number, lsn=c.lsn * APART + number)
            for c in each.changes
        ]
        found.append(each)

    collect()
    return found


@st.composite
def life(draw: st.DrawFn) -> Life:
    """A row that is made, changed, moved, removed and made again, as transactions allow."""
    lived = Life()
    row: dict[str, Any] | None = None
    key, commit = 0, 0
    for number, (first, last) in enumerate(ERAS):
        steps = draw(st.lists(st.sampled_from(STEPS), max_size=4))
        places = sorted(draw(st.sets(st.integers(first, last), min_size=9, max_size=9)))
        for place, step in enumerate(steps):
            lsn = places[2 * place + 1]
            # At times in the transaction of the change before, at times behind another's commit.
            commit = max(commit, draw(st.sampled_from((commit, places[2 * place], lsn + 1))))
            key, row, commit = _step(draw, lived, step, key, row, (commit, lsn))
        if number < len(TRUNCATES):
            row, commit = None, TRUNCATES[number]
    if row is not None:
        lived.alive[key] = row
    for _ in lived.changes:
        batches = draw(st.lists(st.integers(0, BATCHES - 1), min_size=1, max_size=3))
        lived.arrivals.append(batches)
        lived.shuffle.append(draw(st.integers(0, 99)))
    return lived


def _step(
    draw: st.DrawFn,
    lived: Life,
    step: str,
    key: int,
    row: dict[str, Any] | None,
    at: tuple[int, int],
) -> tuple[int, dict[str, Any] | None, int]:
    commit, lsn = at

    def add(op: str, of: int, values: dict[str, Any] | None = None, **facts: Any) -> None:
        clock = lsn + draw(st.sampled_from((0, 0, -2000)))
        order = (lsn, lsn) if op == "r" else at
        lived.changes.append(Change(of, op, *order, clock, values or {}, **facts))

    if row is None:
        if step == "rollback":
            return key, None, commit
        row = _values(draw)
        add("c", key, row)
    elif step == "delete":
        add("d", key)
        return key, None, commit
    elif step in {"update", "touch"}:
        new = _values(draw) if step == "update" else row | {"updated_at": lsn}
        if draw(st.booleans()):
            new = new | {"storage_ref": row["storage_ref"]}
        add("u", key, _carried(row, new))
        row = new
    elif step == "move":
        add("d", key)
        add("c", key + 1, _carried(row, row), moved_from=key)
        key += 1
    elif step == "snapshot":
        # What a snapshot reads lies before every later commit.
        add("r", key, row)
        commit = max(commit, lsn)
    return key, row, commit


def _values(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "status": draw(st.sampled_from(("PENDING", "VERIFIED", "REJECTED"))),
        "storage_ref": draw(
            st.sampled_from((None, "short", f"{LARGE} a", f"{LARGE} a", f"{LARGE} b"))
        ),
        "expires_on": draw(st.none() | st.integers(19000, 19003)),
        "updated_at": draw(st.integers(0, 3)),
    }


def _carried(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What is stored out of line and stays the same is not sent."""
    ref = new["storage_ref"]
    if ref is not None and ref.startswith(LARGE) and ref == old["storage_ref"]:
        return new | {"storage_ref": UNCHANGED}
    return new
