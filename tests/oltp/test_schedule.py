"""Schedules: money adds up, dates do not drift, payments go to the oldest instalment."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oltp import schedule

START = date(2024, 1, 31)


def test_due_dates_count_from_the_anchor_day_and_never_drift():
    found = [schedule.months_after(START, months) for months in (1, 2, 3, 13)]
    assert found == [date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30), date(2025, 2, 28)]


def test_a_known_annuity():
    """10,000.00 at 12 % over 12 months: 888.49 a month, as any loan table says."""
    assert schedule.monthly_payment(1_000_000, Decimal("0.12"), 12) == 88_849
    first, *_, last = schedule.annuity(1_000_000, Decimal("0.12"), 12, START)
    assert (first.principal_minor, first.interest_minor) == (78_849, 10_000)
    assert last.due_date == date(2025, 1, 31)


@given(
    st.integers(1, 10**12),
    st.decimals(0, Decimal("0.999999"), places=6),
    st.integers(1, 480),
)
def test_principal_parts_add_up_and_no_part_is_negative(principal, rate, months):
    instalments = schedule.annuity(principal, rate, months, START)
    assert sum(i.principal_minor for i in instalments) == principal
    assert [i.number for i in instalments] == list(range(1, months + 1))
    assert all(i.principal_minor >= 0 and i.interest_minor >= 0 for i in instalments)


@given(st.lists(st.integers(1, 500), max_size=30))
def test_payments_fill_the_oldest_instalment_first_and_to_the_last_unit(amounts):
    instalments = schedule.annuity(1_200, Decimal(0), 12, START)
    payments = [(schedule.months_after(START, n), amount) for n, amount in enumerate(amounts)]
    paid = schedule.allocate(instalments, payments)
    total = min(sum(amounts), 1_200)
    assert sum(part.amount_minor for part in paid.values()) == total
    full = [
        i.number for i in instalments if i.number in paid and paid[i.number].amount_minor == 100
    ]
    assert full == list(range(1, total // 100 + 1))
    assert len(paid) - len(full) == (1 if total % 100 else 0)


def test_an_instalment_remembers_its_last_payment():
    instalments = schedule.annuity(200, Decimal(0), 2, START)
    paid = schedule.allocate(instalments, [(date(2024, 3, 1), 70), (date(2024, 2, 1), 60)])
    assert paid == {
        1: schedule.Paid(100, date(2024, 3, 1)),
        2: schedule.Paid(30, date(2024, 3, 1)),
    }


@pytest.mark.parametrize("months", [1, 7])
def test_without_interest_the_instalments_are_even(months):
    instalments = schedule.annuity(700 * months, Decimal(0), months, START)
    assert {i.due_minor for i in instalments} == {700}
