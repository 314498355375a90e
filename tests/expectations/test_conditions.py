"""Conditions mean in pandas what they mean in SQL, nulls included."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from expectations import conditions

AT = datetime(2026, 1, 1, tzinfo=UTC)


def broken(expect: str, when: str = "true", **columns: list[Any]) -> list[bool]:
    frame = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
    return conditions.broken(frame, expect, when).tolist()


def test_a_null_result_breaks_nothing_and_a_null_condition_applies_to_nothing() -> None:
    numbers = pd.array([1, None, 3], dtype="Int64")
    assert broken("n > 2", n=numbers) == [True, False, False]
    assert broken("false", when="n > 2", n=numbers) == [False, False, True]


def test_or_and_and_follow_three_values() -> None:
    flags: list[Any] = [True, False, None]
    assert broken("a or b", a=[False] * 3, b=flags) == [False, True, False]
    assert broken("not (a and b)", a=[True] * 3, b=flags) == [True, False, False]


def test_two_truths_can_be_compared() -> None:
    found = broken("(d = 'APPROVED') = (c = '00')", d=["APPROVED", "DECLINED", "APPROVED"],
                   c=["00", "51", "51"])  # fmt: skip
    assert found == [False, False, True]


def test_in_between_and_is_null() -> None:
    codes = ["USD", "XXX", None]
    assert broken("c in ('USD', 'EUR')", c=codes) == [False, True, False]
    assert broken("c not in ('USD', 'EUR')", c=codes) == [True, False, False]
    assert broken("c is not null", c=codes) == [False, False, True]
    assert broken("n between 0 and 1", n=[Decimal("0.5"), Decimal("1.5"), None]) == [
        False, True, False]  # fmt: skip


def test_arithmetic_on_whole_numbers_stays_exact() -> None:
    large = 9_007_199_254_740_993  # one more than a float can count to
    assert broken("due = principal + interest", due=[large, large], principal=[large - 1, large],
                  interest=[1, 1]) == [False, True]  # fmt: skip


def test_dates_and_intervals() -> None:
    assert broken("d > date '2026-01-01'", d=[date(2026, 1, 2), date(2026, 1, 1), None]) == [
        False, True, False]  # fmt: skip
    later = [AT + pd.Timedelta(seconds=s) for s in (60, 61)]
    assert broken("b <= a + interval '60 seconds'", a=[AT, AT], b=later) == [False, True]


def test_sql_that_is_not_understood_is_refused_and_never_passes() -> None:
    with pytest.raises(conditions.ConditionError, match="not understood: UPPER"):
        broken("upper(c) = 'X'", c=["x"])
    with pytest.raises(conditions.ConditionError, match="no column missing"):
        broken("missing = 1", c=["x"])
