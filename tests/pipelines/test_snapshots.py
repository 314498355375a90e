"""Whole states become changes; what is cut off, empty or late does no harm."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import snapshots
from pipelines.snapshots import Seen, judge

# moment -> {key: value}, per scope
Feed = dict[int, dict[str, int]]
FEEDS: dict[str, Feed] = {
    "steady": {1: {"a": 1, "b": 2}, 2: {"a": 1, "b": 2}, 3: {"a": 1, "b": 2}},
    "changes": {1: {"a": 1, "b": 2}, 2: {"a": 5, "b": 2}, 3: {"a": 5, "b": 2, "c": 3}},
    "leaves": {1: {"a": 1, "b": 2}, 2: {"b": 2}, 3: {"a": 1, "b": 2}, 4: {"a": 1, "b": 2}},
    "back and forth": {1: {"a": 1}, 2: {"a": 2}, 3: {"a": 1}},
    "cut off": {1: dict.fromkeys("abcdef", 1), 2: {"a": 1}, 3: dict.fromkeys("abcdef", 1)},
    "shrinks": {1: dict.fromkeys("abcdef", 1), 2: {"a": 2}, 3: {"a": 2}},
}


def verdicts(*rows: int, confirmed: tuple[int, ...] = ()) -> list[int | None]:
    seen = [Seen("s", n, count, n in confirmed) for n, count in enumerate(rows)]
    return [judged.rank for judged in judge(seen)]


def test_a_snapshot_that_lost_most_rows_is_refused() -> None:
    assert verdicts(10, 4, 10) == [1, None, 2]
    assert verdicts(10, 5, 10) == [1, 2, 3]
    assert judge([Seen("s", 0, 10), Seen("s", 1, 4)])[1].reason == "4 rows after 10"


def test_the_second_in_a_row_that_says_the_same_is_believed() -> None:
    assert verdicts(10, 4, 4, 4) == [1, None, 2, 3]
    assert verdicts(10, 4, 1, 4) == [1, None, None, 2]


def test_an_empty_snapshot_ends_nothing_unless_a_person_says_so() -> None:
    assert verdicts(10, 0, 0, 0, 10) == [1, None, None, None, 2]
    assert verdicts(10, 0, 7, confirmed=(1,)) == [1, 2, 3]
    assert verdicts(0, 3) == [None, 1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.builds(Seen, st.sampled_from("st"), st.integers(0, 5), st.integers(0, 9))),
    st.integers(0, 2**32),
)
def test_what_is_believed_does_not_depend_on_arrival(seen: list[Seen], seed: int) -> None:
    chance = random.Random(seed)
    arrived = seen * 2
    chance.shuffle(arrived)
    assert judge(arrived) == judge(seen)


def rows_of(feeds: dict[str, Feed]) -> list[tuple[str, int, str, int]]:
    return [
        (scope, moment, key, value)
        for scope, feed in feeds.items()
        for moment, state in feed.items()
        for key, value in state.items()
    ]


def reference(feeds: dict[str, Feed]) -> set[tuple[Any, ...]]:
    """Intervals by walking through the accepted snapshots one by one."""
    found = set()
    for scope, feed in feeds.items():
        seen = [Seen(scope, moment, len(state)) for moment, state in feed.items()]
        moments = [j.seen.moment for j in judge(seen) if j.rank]
        opened: dict[str, tuple[int, int, str]] = {}
        for moment in moments:
            state = feed[moment]
            for key in sorted({*opened, *state}):
                value, since, by = opened.get(key, (None, 0, ""))
                if state.get(key) == value:
                    continue
                if key in opened:
                    end = "update" if key in state else "delete"
                    found.add((scope, key, value, since, moment, by, end))
                    del opened[key]
                if key in state:
                    opened[key] = (state[key], moment, "update" if value is not None else "insert")
        found |= {(scope, k, v, since, None, by, None) for k, (v, since, by) in opened.items()}
    return found


def generated(chance: random.Random, feeds: int) -> dict[str, Feed]:
    return {
        f"feed {n}": {
            moment: {k: chance.randint(1, 2) for k in "abcdef" if chance.random() < 0.7}
            for moment in chance.sample(range(20), chance.randint(1, 8))
        }
        for n in range(feeds)
    }


@pytest.fixture(scope="module")
def built(spark: Any) -> dict[str, Any]:
    """All feeds in one run, their rows in any order and some of them twice."""
    chance = random.Random(11)
    feeds = FEEDS | generated(chance, 60)
    rows = rows_of(feeds)
    counts = [Seen(s, m, len(state)) for s, feed in feeds.items() for m, state in feed.items()]
    arrived = rows + chance.choices(rows, k=50)
    chance.shuffle(arrived)
    accepted = [(j.seen.scope, j.seen.moment, j.rank) for j in judge(counts) if j.rank]
    of = snapshots.intervals(
        spark.createDataFrame(arrived, "scope string, taken_at int, key string, value int"),
        spark.createDataFrame(accepted, "scope string, taken_at int, rank int"),
        ["key"],
        ["value"],
    ).cache()
    changes = snapshots.changes(of, ["key"]).collect()
    return {"feeds": feeds, "intervals": of.collect(), "changes": changes}


@pytest.mark.spark
def test_intervals_are_those_of_a_walk_through_the_snapshots(built: dict[str, Any]) -> None:
    names = ("scope", "key", "value", "valid_from", "valid_to", "_began_by", "_ended_by")
    found = [tuple(row[name] for name in names) for row in built["intervals"]]
    assert len(found) == len(set(found))
    assert set(found) == reference(built["feeds"])


@pytest.mark.spark
def test_changes_are_what_a_log_would_have_told(built: dict[str, Any]) -> None:
    told = {(r["scope"], r["key"], r["op"], r["changed_at"]) for r in built["changes"]}
    assert {t for t in told if t[0] == "changes"} == {
        ("changes", "a", "insert", 1),
        ("changes", "b", "insert", 1),
        ("changes", "a", "update", 2),
        ("changes", "c", "insert", 3),
    }
    leaves = {t[1:] for t in told if t[0] == "leaves" and t[1] == "a"}
    assert leaves == {("a", "insert", 1), ("a", "delete", 2), ("a", "insert", 3)}
    assert {t[2] for t in told if t[0] in ("steady", "cut off")} == {"insert"}
