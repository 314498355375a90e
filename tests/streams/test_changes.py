"""Envelopes and their order."""

import json
from itertools import permutations

import pytest

from streams.changes import parse, position
from streams.codec import Undecodable


def envelope(
    op: str, lsn: int | None, sequence: list[str | None] | None = None
) -> dict[str, object]:
    return {
        "op": op,
        "before": {"id": 1},
        "after": None if op == "d" else {"id": 1},
        "source": {"lsn": lsn, "sequence": json.dumps(sequence), "ts_ms": 1000},
    }


def test_changes_sort_by_commit_then_by_place_and_a_snapshot_row_loses_to_a_streamed_one() -> None:
    in_order = [
        envelope("r", 500, [None, "500"]),
        envelope("u", 500, ["500", "500"]),
        # Written before the next one and committed after it: commit order decides.
        envelope("u", 700, ["650", "700"]),
        envelope("u", 690, ["710", "690"]),
        envelope("d", 2**62, [str(2**61), str(2**62)]),
    ]
    places = [parse("t", one).position for one in in_order]
    for shuffled in permutations(places):
        assert sorted(shuffled) == places


def test_a_row_read_again_comes_after_what_it_shows_and_before_what_follows() -> None:
    """Real positions: the row has no LSN, and the sequence of the mark that closed its chunk."""
    in_order = [
        envelope("u", 61_390_000, ["61388000", "61390000"]),
        envelope("r", None, ["61406392", "61403408"]),
        envelope("u", 61_406_500, ["61406448", "61406500"]),
    ]
    places = [parse("t", one).position for one in in_order]
    assert sorted(places) == places
    assert parse("t", in_order[1]).lsn == 61_403_408


def test_the_text_of_a_position_sorts_like_its_numbers() -> None:
    assert position(9, True, 1) < position(10, False, 0) < position(10, True, 0)


@pytest.mark.parametrize("op", ["t", "m", None, "x"])
def test_what_changes_no_row_is_passed_over(op: str) -> None:
    assert parse("t", {"op": op}) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"op": "c"},
        {"op": "c", "source": {"lsn": "x", "ts_ms": 1}, "after": {}},
        {"op": "c", "source": {"lsn": 1, "sequence": "[", "ts_ms": 1}, "after": {}},
        {"op": "c", "source": {"lsn": 1, "sequence": None, "ts_ms": 1}, "after": None},
    ],
)
def test_an_envelope_that_is_not_ours_is_a_dead_letter(broken: dict[str, object]) -> None:
    with pytest.raises(Undecodable):
        parse("t", broken)


def test_a_delete_has_no_row_after_it() -> None:
    change = parse("t", envelope("d", 1, ["1", "1"]))
    assert change is not None
    assert (change.after, change.before) == (None, {"id": 1})
