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
