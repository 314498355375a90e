"""Who may be fixed, released and held back, and what a decision leaves of the ones before it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines import captured_row, decisions, mending
from pipelines.decisions import Decision, Place, Row
from pipelines.quarantined import Quarantined, Wanted
from schemas import contract

SEEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
ONE = Quarantined(
    "payments", "one", Place("t", 0, 17), "held", b"k", "u", 100,
    (("status.code", "no"), ("currency.pattern", "no")), SEEN, SEEN, 1,
)  # fmt: skip
TWO = replace(ONE, entity="offers", identity="two", place=Place("o", 1, 3))


def stands(lake: Path, one: Quarantined = ONE) -> tuple[str, dict[str, str | None]]:
    standing = decisions.standing(decisions.all_of(lake, one.entity))[one.identity]
    return standing.state, dict(standing.row.patch or {})


def test_a_fix_adds_to_the_one_before_and_goes_along_with_the_release(tmp_path: Path) -> None:
    assert mending.fix(tmp_path, [ONE], {"status": "PAID"}, "ada", "x") == {}
    assert mending.fix(tmp_path, [ONE], {"currency": "CZK"}, "ada", "x") == {}
    assert stands(tmp_path) == ("fixed", {"status": "PAID", "currency": "CZK"})
    assert mending.release(tmp_path, [ONE], "ada", "x") == {}
    assert stands(tmp_path) == ("released", {"status": "PAID", "currency": "CZK"})


def test_what_is_released_is_released_once_and_not_fixed_any_more(tmp_path: Path) -> None:
    assert mending.release(tmp_path, [ONE, TWO], "ada", "x") == {}
    told = {"payments/0@17": "it is released already"}
    assert mending.release(tmp_path, [ONE], "ada", "x") == told
    assert mending.fix(tmp_path, [ONE], {"status": "PAID"}, "ada", "x") == told
    assert decisions.last(tmp_path, "payments") == decisions.last(tmp_path, "offers") == 1


def test_what_no_build_has_taken_can_be_held_back_without_its_fix(tmp_path: Path) -> None:
    mending.fix(tmp_path, [ONE], {"status": "PAID"}, "ada", "x")
    mending.release(tmp_path, [ONE], "ada", "x")
    assert mending.hold(tmp_path, [ONE, TWO], "ada", "x") == {"offers/1@3": "it is held already"}
    assert stands(tmp_path) == ("held", {})
    taken = Decision("applied", (Row("one", ONE.place),), "build", "x")
    decisions.decide(tmp_path, "payments", taken, decisions.last(tmp_path, "payments"))
    assert "applied already" in mending.hold(tmp_path, [ONE], "ada", "x")["payments/0@17"]


@pytest.mark.parametrize("change", [{"op": "d"}, {"op": None, "lsn": None}], ids=str)
def test_where_there_is_no_row_nothing_can_be_laid_over_it(
    tmp_path: Path, change: dict[str, None]
) -> None:
    refused = mending.fix(tmp_path, [replace(ONE, **change)], {"status": "PAID"}, "ada", "x")
    assert "there is no row to fix" in refused["payments/0@17"]
    assert mending.release(tmp_path, [replace(ONE, **change)], "ada", "x") == {}


def test_changes_are_chosen_by_all_that_is_said() -> None:
    assert Wanted("payments", "status.code", "held", ("payments/0@17",)).has(ONE)
    for other in (Wanted("offers"), Wanted(rule="x"), Wanted(state="fixed"), Wanted(names=("x",))):
        assert not other.has(ONE)
    assert Wanted(names=("payments/0@17", "offers/1@3")).entities() == {"payments", "offers"}
    assert Wanted("payments").entities() == {"payments"}
    assert Wanted(rule="x").entities() is None


def test_of_what_is_not_public_people_see_only_that_it_is_there() -> None:
    customers, records = contract.load("customers"), contract.load("kyc_records")
    row = {"full_name": "Ada", "email": None, "country": "CZ", "new": 1}
    assert captured_row.shown(row, customers) == {
        "full_name": "(pii)", "email": "null", "country": "CZ", "new": "(in no contract)"
    }  # fmt: skip
    assert captured_row.shown({"details": "{}"}, records) == {"details": "(restricted)"}
    due = {"due_date": 0, "status": captured_row.UNCHANGED}
    assert captured_row.shown(due, contract.load("payments")) == {
        "due_date": "1970-01-01", "status": "(unchanged)"
    }  # fmt: skip
