"""Repayment schedules in whole minor units: due dates, instalments, and what is paid on them."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext


@dataclass(frozen=True)
class Instalment:
    """One instalment; interest first, the rest is principal."""

    number: int
    due_date: date
    principal_minor: int
    interest_minor: int

    @property
    def due_minor(self) -> int:
        """What is to be paid."""
        return self.principal_minor + self.interest_minor


@dataclass(frozen=True)
class Paid:
    """What has been paid on one instalment, and when last."""

    amount_minor: int
    last_on: date


def months_after(start: date, months: int) -> date:
    """`start` plus whole months, on its own day or the month's last.

    Always counted from the anchor: 31 January, 29 February, 31 March, never step by step.
    """
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


def monthly_payment(principal_minor: int, annual_rate: Decimal, months: int) -> int:
    """The annuity's instalment, rounded half up; principal over months when the rate is zero."""
    with localcontext() as context:
        context.prec = 50
        rate = annual_rate / 12
        if rate == 0:
            payment = Decimal(principal_minor) / months
        else:
            payment = principal_minor * rate / (1 - (1 + rate) ** -months)
        return int(payment.quantize(Decimal(1), ROUND_HALF_UP))


def annuity(
    principal_minor: int, annual_rate: Decimal, months: int, start: date
) -> tuple[Instalment, ...]:
    """Equal instalments from one month after `start`; the last takes the residue.

    The principal parts add up to the principal exactly.
    """
    payment = monthly_payment(principal_minor, annual_rate, months)
    left = principal_minor
    instalments = []
    for number in range(1, months + 1):
        interest = int((left * annual_rate / 12).quantize(Decimal(1), ROUND_HALF_UP))
        principal = left if number == months else min(left, max(0, payment - interest))
        left -= principal
        due_date = months_after(start, number)
        instalments.append(Instalment(number, due_date, principal, interest))
    return tuple(instalments)


def allocate(
    instalments: Sequence[Instalment], payments: Sequence[tuple[date, int]]
) -> dict[int, Paid]:
    """Set payments, oldest first, against instalments, oldest first, to the last unit.

    Gives what each touched instalment has received; money beyond the last one is left over.
    """
    paid: dict[int, Paid] = {}
    waiting = iter(instalments)
    current = next(waiting, None)
    open_minor = current.due_minor if current else 0
    for day, amount_minor in sorted(payments):
        left = amount_minor
        while current and left > 0:
            part = min(left, open_minor)
            before = paid.get(current.number)
            paid[current.number] = Paid((before.amount_minor if before else 0) + part, day)
            left -= part
            open_minor -= part
            if open_minor == 0:
                current = next(waiting, None)
                open_minor = current.due_minor if current else 0
    return paid


@dataclass(frozen=True)
class Flow:
    """Money that moves: whole unit periods and a part of one after the term of a credit begins."""

    amount: Decimal
    periods: int
    part: Decimal = Decimal(0)


def annual_percentage_rate(
    advances: Sequence[Flow], payments: Sequence[Flow], periods_a_year: int = 12
) -> Decimal:
    """The rate at which the advances are worth the payments, as a fraction, to six decimals.

    Actuarial method of Regulation Z, Appendix J: within a part of a period interest is simple.
    Raises ValueError when the payments do not even return what was advanced.
    """
    if sum(flow.amount for flow in payments) < sum(flow.amount for flow in advances):
        raise ValueError("the payments are less than what was advanced")
    in_, out = _floats(advances), _floats(payments)

    def excess(rate: float) -> float:
        return _worth(in_, rate) - _worth(out, rate)

    # The excess grows with the rate; the root is bracketed first, then halved to a ten-billionth.
    low, high = 0.0, 0.01
    while excess(high) < 0:
        low, high = high, high * 2
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return Decimal((low + high) / 2 * periods_a_year).quantize(Decimal("0.000001"), ROUND_HALF_UP)


def annuity_rate(advanced_minor: int, payment_minor: int, last_minor: int, months: int) -> Decimal:
    """The annual percentage rate of equal monthly payments with a last one of its own."""
    payments = [Flow(Decimal(payment_minor), number) for number in range(1, months)]
    payments.append(Flow(Decimal(last_minor), months))
    return annual_percentage_rate([Flow(Decimal(advanced_minor), 0)], payments)


def _floats(flows: Sequence[Flow]) -> list[tuple[float, int, float]]:
    return [(float(flow.amount), flow.periods, float(flow.part)) for flow in flows]


def _worth(flows: Sequence[tuple[float, int, float]], rate: float) -> float:
    return sum(
        amount / ((1 + part * rate) * (1 + rate) ** periods) for amount, periods, part in flows
    )
