"""The checkers see what they are for: each thing that may go wrong, done to a good log."""

from dataclasses import replace

import pytest

from tests.faults.capture_client import FAIL, INFO, OK, Client, Transaction, Write
from tests.faults.capture_invariants import (
    Record,
    contiguous,
    converged,
    folded,
    in_order,
    no_loss,
    no_phantom,
    order_of,
)


@pytest.fixture
def client() -> Client:
    made = Client("", seed=7)
    made.name = "c"
    made.history = [
        Transaction(0, [Write("a", "c-1"), Write("b", "c-2")], outcome=OK),
        Transaction(0, [Write("a", "c-3")], [Write("b", "c-4")], outcome=OK),
        Transaction(0, [Write("b", None)], outcome=OK),
        Transaction(0, [Write("x", "c-5")], outcome=FAIL),
        Transaction(1, [Write("y", "c-6"), Write("z", "c-7")], outcome=INFO),
    ]
    return made


LOG = [
    Record(0, 0, "a", "c", (10, 1, 11), "c-1", {"v": "c-1"}),
    Record(0, 1, "b", "c", (10, 1, 12), "c-2", {"v": "c-2"}),
    Record(0, 2, "a", "u", (20, 1, 21), "c-3", {"v": "c-3"}),
    Record(0, 3, "b", "d", (30, 1, 31), None),
    Record(0, 4, "b", "tombstone", None, None),
]
SOURCE = {"a": "c-3"}


def wrong(client: Client, log: list[Record], source: dict[str, str] = SOURCE) -> list[str]:
    found = no_loss(client.history, log) + no_phantom(client, log) + contiguous(log)
    return found + in_order(client, log) + converged(client, folded(log), source)


def at(offset: int, record: Record) -> Record:
    return replace(record, offset=offset)


def test_a_good_log_has_nothing_wrong_whether_the_unknown_was_committed_or_not(client) -> None:
    assert wrong(client, LOG) == []
    both = [
        Record(0, 5, "y", "c", (40, 1, 41), "c-6", {}),
        Record(0, 6, "z", "c", (40, 1, 42), "c-7", {}),
    ]
    assert wrong(client, LOG + both, {**SOURCE, "y": "c-6", "z": "c-7"}) == []


def test_a_replayed_end_is_no_violation(client) -> None:
    replay = [at(5 + n, record) for n, record in enumerate(LOG[1:])]
    assert wrong(client, LOG + replay) == []


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (LOG[:2] + LOG[3:], "I1 lost: c-3"),
        (LOG[:3], "I1 lost: delete of b"),
        (LOG[:2] + LOG[3:], "I4 partition 0: offset 2 is not there"),
        ([*LOG, at(2, LOG[0])], "I4 partition 0: offset 2 twice"),
        ([LOG[2], *LOG[:2], *LOG[3:]], "I5 a: (10, 1, 11) comes after (20, 1, 21)"),
        ([*LOG, replace(at(5, LOG[0]), row={"v": "?"})], "I5 a: two contents at (10, 1, 11)"),
        ([*LOG, Record(0, 5, "x", "c", (50, 1, 51), "c-5", {})], "I3 phantom: c-5"),
        ([*LOG, Record(0, 5, "b", "u", (50, 1, 51), "c-4", {})], "I3 phantom: c-4"),
        ([*LOG, Record(0, 5, "a", "d", (50, 1, 51), None)], "I3 phantom: a delete of a"),
        ([*LOG, Record(0, 5, "y", "c", (40, 1, 41), "c-6", {})], "I3 torn: 1 of 2"),
        ([replace(LOG[0], order=(25, 1, 26)), *LOG[1:]], "I2 a: the source has c-3"),
        ([replace(LOG[0], order=(25, 1, 26)), *LOG[1:]], "I5 a: [3, 1] is not as written"),
    ],
)
def test_what_is_wrong_is_named(client, log, said) -> None:
    assert any(line.startswith(said) for line in wrong(client, log)), wrong(client, log)


def test_a_move_that_is_there_by_half_is_a_loss(client) -> None:
    moved = Transaction(0, [Write("a", None), Write("n", "c-8", moved_from="a")], outcome=OK)
    client.history.append(moved)
    half = [*LOG, Record(0, 5, "a", "d", (60, 1, 61), None)]
    assert no_loss(client.history, half) == ["I1 lost: c-8 of n (moved, its old key is deleted)"]
    whole = [*half, Record(0, 6, "n", "c", (60, 1, 61), "c-8", {})]
    assert no_loss(client.history, whole) == []
    assert no_loss(client.history, LOG) == ["I1 lost: delete of a", "I1 lost: c-8 of n"]


def test_a_source_that_lost_what_it_acknowledged_is_named(client) -> None:
    assert any(line.startswith("I1 a: the writer was told") for line in wrong(client, LOG, {}))


def test_a_row_read_again_has_its_place_by_the_mark_that_closed_its_chunk() -> None:
    def envelope(op: str, lsn: int | None, sequence: str) -> dict:
        return {"op": op, "source": {"lsn": lsn, "sequence": sequence}}

    assert order_of(envelope("r", None, '["30","20"]')) == (30, 0, 20)
    assert order_of(envelope("r", 25, '[null,"25"]')) == (25, 0, 25)
    assert order_of(envelope("u", 40, '["35","40"]')) == (35, 1, 40)
    assert order_of(envelope("c", 40, '[null,"40"]')) == (40, 1, 40)
