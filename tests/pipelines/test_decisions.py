"""Decisions about quarantined changes: kept once, in order, and durable."""

from pathlib import Path
from threading import Barrier, Thread

import pytest

from pipelines import decisions
from pipelines.decisions import DecidedMeanwhile, Decision, Place, Row

ONE, TWO = Row("one", Place("t", 0, 1), {"a": "1", "b": None}), Row("two", Place("t", 0, 2))


def decided(state: str, *rows: Row) -> Decision:
    return Decision(state, rows, "ada", "because")


def test_the_last_decision_about_a_change_is_how_it_stands(tmp_path: Path) -> None:
    assert decisions.all_of(tmp_path, "offers") == []
    assert decisions.pending(tmp_path) == {}
    decisions.decide(tmp_path, "offers", decided("fixed", ONE), 0)
    decisions.decide(tmp_path, "offers", decided("released", ONE, TWO), 1)
    again = Row("two", Place("t", 0, 2), reasons=(("a.code", "a is not one of them"),))
    decisions.decide(tmp_path, "offers", Decision("held", (again,), "build", "still broken"), 2)
    every = decisions.all_of(tmp_path, "offers")
    assert [one.number for one in every] == [1, 2, 3]
    stand = decisions.standing(every)
    assert (stand["one"].state, stand["one"].row) == ("released", ONE)
    assert (stand["two"].state, stand["two"].row.reasons) == ("held", again.reasons)
    assert decisions.pending(tmp_path) == {"offers": 1}
    assert decisions.asked(tmp_path) == {"offers": 2}


def test_of_those_who_decide_at_once_one_does_and_the_others_are_told(tmp_path: Path) -> None:
    barrier = Barrier(8)
    results: list[int | None] = []

    def one() -> None:
        barrier.wait()
        try:
            results.append(decisions.decide(tmp_path, "offers", decided("fixed", ONE), 0))
        except DecidedMeanwhile:
            results.append(None)

    threads = [Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [1, *[None] * 7]
    assert [path.name for path in (tmp_path / "decisions" / "offers").iterdir()] == [
        "00000001.json"
    ]


def test_who_decides_on_what_was_decided_meanwhile_must_look_again(tmp_path: Path) -> None:
    decisions.decide(tmp_path, "offers", decided("fixed", ONE), 0)
    with pytest.raises(DecidedMeanwhile, match="look again"):
        decisions.decide(tmp_path, "offers", decided("released", ONE), 0)
    with pytest.raises(DecidedMeanwhile):
        decisions.decide(tmp_path, "offers", decided("released", ONE), 5)


def test_a_decision_is_for_nobody_elses_eyes(tmp_path: Path) -> None:
    decisions.decide(tmp_path, "offers", decided("fixed", ONE), 0)
    (file,) = (tmp_path / "decisions" / "offers").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_a_change_is_known_wherever_it_is_delivered() -> None:
    def named(offset: int, key: bytes | None, lsn: int | None, op: str | None = "u") -> str:
        return decisions.identity("offers", Place("t", 0, offset), key, op, lsn)

    assert named(1, b"\0\0\0\0\7key", 5) == named(9, b"\0\0\0\0\x09key", 5)
    assert named(1, b"k", 5) != named(1, b"k", 6)
    assert named(1, b"k", 5, "d") != named(1, b"k", 5, "c")
    assert named(1, b"k", None) != named(2, b"k", None)
