"""How a credit is repaid: habits make payments, payments settle instalments, oldest first. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from oltp.schedule import Instalment
from oltp.simulator import clock

# Closed-end credit is charged off when its oldest instalment is this late.
CHARGED_OFF_AFTER_DAYS = 120
DELINQUENT_AFTER_DAYS = 30
# A missed instalment costs a fee from this day on.
LATE_FEE_AFTER_DAYS = 15


class Habit(StrEnum):
    """How a customer treats a credit."""

    ON_TIME = "on time"
    LATE = "late"  # now and then some days, never a month
    CURES = "cures"  # misses two or three, then pays all of it
    PARTIAL = "partial"  # half now, half weeks later
    SHRINKS = "shrinks"  # pays less and less until nothing
    STOPS = "stops"
    NEVER = "never"
    RESTRUCTURED = "restructured"  # misses three, then gets a longer schedule
    PREPAYS = "prepays"


HABITS = {
    Habit.ON_TIME: 58,
    Habit.LATE: 13,
    Habit.CURES: 7,
    Habit.PARTIAL: 5,
    Habit.SHRINKS: 3,
    Habit.STOPS: 4,
    Habit.NEVER: 2,
    Habit.RESTRUCTURED: 3,
    Habit.PREPAYS: 5,
}


@dataclass(slots=True)
class Part:
    """What a payment settled of one instalment, in order: fees, interest, principal."""

    number: int
    fees_minor: int
    interest_minor: int
    principal_minor: int


@dataclass(slots=True)
class Receipt:
    """One payment and what it settled. The parts add up to the amount."""

    moment: int
    parts: list[Part]

    @property
    def amount_minor(self) -> int:
        """What was paid."""
        return sum(p.fees_minor + p.interest_minor + p.principal_minor for p in self.parts)


@dataclass(slots=True)
class Standing:
    """Where one instalment stands."""

    instalment: Instalment
    fees_minor: int = 0
    paid_fees_minor: int = 0
    paid_interest_minor: int = 0
    paid_principal_minor: int = 0
    paid_at: int | None = None

    @property
    def due_minor(self) -> int:
        """What is due of it in all."""
        return self.instalment.due_minor + self.fees_minor

    @property
    def paid_minor(self) -> int:
        """What has been paid on it."""
        return self.paid_fees_minor + self.paid_interest_minor + self.paid_principal_minor

    @property
    def is_paid(self) -> bool:
        """Nothing of it is open."""
        return self.paid_minor == self.due_minor

    def settle(self, amount_minor: int, moment: int) -> Part:
        """Take as much of the amount as is open."""
        inst = self.instalment
        fees = min(amount_minor, self.fees_minor - self.paid_fees_minor)
        interest = min(amount_minor - fees, inst.interest_minor - self.paid_interest_minor)
        principal = min(
            amount_minor - fees - interest, inst.principal_minor - self.paid_principal_minor
        )
        self.paid_fees_minor += fees
        self.paid_interest_minor += interest
        self.paid_principal_minor += principal
        self.paid_at = moment
        return Part(inst.number, fees, interest, principal)


@dataclass(slots=True)
class Course:
    """How one schedule went until a moment."""

    standings: list[Standing]
    receipts: list[Receipt] = field(default_factory=list)
    charged_off_at: int | None = None
    # The schedule ends here unpaid: another one takes over what is open.
    restructured_at: int | None = None
    prepaid_at: int | None = None
    # Payments that ended an arrear of thirty days or more, and how many days it had been.
    cures: list[tuple[int, int]] = field(default_factory=list)

    @property
    def repaid_minor(self) -> int:
        """Principal that has come back."""
        return sum(s.paid_principal_minor for s in self.standings)

    @property
    def oldest_open(self) -> Standing | None:
        """The first instalment that is not paid."""
        return next((s for s in self.standings if not s.is_paid), None)

    def days_past_due(self, day: date) -> int:
        """Days since the oldest open instalment was due; 0 before that."""
        oldest = self.oldest_open
        return max(0, (day - oldest.instalment.due_date).days) if oldest else 0

    def settle_early(self, moment: int) -> Receipt:
        """All that is owed: the next instalment whole, of later ones the principal."""
        receipt = Receipt(moment, [])
        day, is_next = clock.day_of(moment), True
        for standing in self.standings:
            if standing.is_paid:
                continue
            inst = standing.instalment
            if inst.due_date <= day or is_next:
                is_next = is_next and inst.due_date <= day
                part = standing.settle(standing.due_minor - standing.paid_minor, moment)
            else:
                part = Part(inst.number, 0, 0, inst.principal_minor)
                standing.paid_principal_minor, standing.paid_at = inst.principal_minor, moment
            receipt.parts.append(part)
        self.receipts.append(receipt)
        return receipt


def run(
    instalments: Sequence[Instalment],
    habit: Habit,
    chance: random.Random,
    now: int,
    late_fee_minor: int,
) -> Course:
    """Live through the schedule until `now`; payments that would be later have not happened."""
    course = Course([Standing(instalment) for instalment in instalments])
    wishes = _wishes(instalments, habit, chance)
    for moment, amount in sorted(wishes):
        if moment >= now or _gives_up(course, moment, habit):
            break
        _charge_fees(course, clock.day_of(moment), late_fee_minor)
        if amount is None:
            course.prepaid_at = moment
            break
        _receive(course, moment, amount)
    _end(course, habit, now, late_fee_minor)
    return course


def _wishes(
    instalments: Sequence[Instalment], habit: Habit, chance: random.Random
) -> list[tuple[int, int | None]]:
    """Payments that the habit would make: moment and amount; None is all that is left."""
    turn = chance.randint(2, max(2, len(instalments) * 2 // 3))
    missed = chance.choice((2, 2, 3))
    wishes: list[tuple[int, int | None]] = []
    for instalment in instalments:
        number, due = instalment.number, instalment.due_minor
        on_time = _moment(chance, instalment.due_date - timedelta(days=chance.randint(0, 4)))
        if habit is Habit.NEVER or (habit is Habit.STOPS and number > turn):
            break
        if habit is Habit.LATE and chance.random() < 0.4:
            later = chance.randint(1, 24)
            wishes.append((_moment(chance, instalment.due_date + timedelta(days=later)), due))
        elif habit is Habit.PARTIAL and number >= turn:
            second = _moment(chance, instalment.due_date + timedelta(days=chance.randint(8, 26)))
            wishes += [(on_time, due // 2), (second, due - due // 2)]
        elif habit is Habit.SHRINKS and number > turn:
            share = max(0.0, 1 - 0.25 * (number - turn))
            wishes.append((on_time, int(due * share)))
        elif habit is Habit.CURES and turn <= number < turn + missed:
            cured = instalments[min(turn + missed, len(instalments)) - 1].due_date
            day = cured + timedelta(days=chance.randint(3, 12))
            wishes.append((_moment(chance, day), due))
        elif habit is Habit.RESTRUCTURED and number >= turn:
            break
        elif habit is Habit.PREPAYS and number > turn:
            wishes.append((on_time, None))
            break
        else:
            wishes.append((on_time, due))
    return wishes


def _moment(chance: random.Random, day: date) -> int:
    return clock.at_midnight(day) + int(chance.triangular(6, 22, 11) * clock.HOUR_S)


def _gives_up(course: Course, moment: int, habit: Habit) -> bool:
    """What is charged off or restructured is not paid by this schedule any more."""
    return course.days_past_due(clock.day_of(moment)) > CHARGED_OFF_AFTER_DAYS


def _charge_fees(course: Course, day: date, late_fee_minor: int) -> None:
    """A fee on each instalment that is late by now, once."""
    latest = day - timedelta(days=LATE_FEE_AFTER_DAYS)
    for standing in course.standings:
        if standing.instalment.due_date >= latest:
            break
        if not standing.is_paid and not standing.fees_minor:
            standing.fees_minor = late_fee_minor


def _receive(course: Course, moment: int, amount: int) -> None:
    """Settle instalments, oldest first; money beyond the last one is never taken."""
    receipt = Receipt(moment, [])
    late_days = course.days_past_due(clock.day_of(moment))
    for standing in course.standings:
        if amount <= 0:
            break
        if standing.is_paid:
            continue
        part = standing.settle(amount, moment)
        amount -= part.fees_minor + part.interest_minor + part.principal_minor
        receipt.parts.append(part)
    if receipt.parts:
        course.receipts.append(receipt)
    if late_days >= DELINQUENT_AFTER_DAYS and not course.days_past_due(clock.day_of(moment)):
        course.cures.append((moment, late_days))


def _end(course: Course, habit: Habit, now: int, late_fee_minor: int) -> None:
    """Charge off or restructure what has been open for too long."""
    oldest = course.oldest_open
    if course.prepaid_at or oldest is None:
        return
    due = clock.at_midnight(oldest.instalment.due_date)
    restructured = due + 75 * clock.DAY_S + 11 * clock.HOUR_S
    charged_off = due + (CHARGED_OFF_AFTER_DAYS + 1) * clock.DAY_S + 6 * clock.HOUR_S
    if habit is Habit.RESTRUCTURED and restructured < now:
        course.restructured_at = restructured
    elif charged_off < now:
        course.charged_off_at = charged_off
    ended = course.restructured_at or course.charged_off_at or now
    _charge_fees(course, clock.day_of(ended), late_fee_minor)
