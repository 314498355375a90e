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


def flow(amount: float, periods: int, part: tuple[int, int] = (0, 1)) -> schedule.Flow:
    return schedule.Flow(Decimal(str(amount)), periods, Decimal(part[0]) / part[1])


def flows(number: int, amount: float, first: int, part: tuple[int, int] = (0, 1)) -> list:
    return [flow(amount, first + k, part) for k in range(number)]


APPENDIX_J = {
    "monthly": (5_000, flows(24, 230, 1), 12, "9.69"),
    "monthly, a first period of 49 days": (6_000, flows(36, 200, 1, (19, 30)), 12, "11.82"),
    "semi-monthly": (5_000, flows(24, 219.17, 0, (6, 15)), 24, "10.34"),
    "quarterly": (10_000, flows(40, 385, 1, (39, 90)), 4, "8.97"),
    "weekly": (500, flows(30, 17.60, 4, (4, 7)), 52, "14.96"),
    "an odd first payment": (5_000, [flow(250, 1), *flows(23, 230, 2)], 12, "10.08"),
    "four-weekly": (400, [flow(39.5, 1, (5, 28)), *flows(11, 38.31, 2, (5, 28))], 13, "28.50"),
    "an odd last payment": (5_000, [*flows(23, 230, 1), flow(280, 24)], 12, "10.50"),
    "bi-weekly": (200, [*flows(19, 9.5, 0, (8, 14)), flow(30, 19, (8, 14))], 26, "12.22"),
    "odd first and last": (
        5_000, [flow(250, 1), *flows(22, 230, 2), flow(280, 24)], 12, "10.90",
    ),
    "two-monthly": (
        8_000,
        [flow(449.36, 0, (52, 60)), *flows(18, 465, 1, (52, 60)), flow(200, 19, (52, 60))],
        6,
        "7.30",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", APPENDIX_J)
def test_the_annual_percentage_rate_is_that_of_regulation_z(case):
    advanced, payments, periods, percent = APPENDIX_J[case]
    rate = schedule.annual_percentage_rate([flow(advanced, 0)], payments, periods)
    assert round(rate * 100, 2) == Decimal(percent)


def test_without_fees_the_rate_of_an_annuity_is_its_interest_rate():
    payment = schedule.monthly_payment(10_000_000, Decimal("0.12"), 36)
    last = schedule.annuity(10_000_000, Decimal("0.12"), 36, START)[-1].due_minor
    rate = schedule.annuity_rate(10_000_000, payment, last, 36)
    assert abs(rate - Decimal("0.12")) < Decimal("0.00001")


def test_payments_below_what_was_advanced_have_no_rate():
    with pytest.raises(ValueError, match="less than what was advanced"):
        schedule.annual_percentage_rate([flow(100, 0)], [flow(99, 1)])
