"""Applications, offers, credits and how they are repaid. Pure, from the customer's own chance."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from oltp import schedule
from oltp.simulator.population import THOUSAND_MINOR, Maker, People, Row
from schemas.codes import CreditStatus, PaymentStatus

PROVIDERS = ("northbank", "lendwell", "civic credit")
PURPOSES = ("car", "home", "education", "debt consolidation")
# 7.125 % and its like: rates that a float or two decimals would bend.
RATES = tuple(Decimal(text) for text in ("0.071250", "0.059900", "0.103750", "0.149000", "0.0"))
HABITS = {"on time": 60, "late": 18, "partial": 8, "stopped": 8, "never": 6}
CHARGED_OFF_AFTER_DAYS = 120
DELINQUENT_AFTER_DAYS = 30


def lend(people: People, maker: Maker, chance: random.Random, currency: str) -> None:
    """Add what this customer applied for, was offered and took."""
    for part in range(chance.choice((0, 0, 1, 1, 1, 2))):
        application = _application(maker, chance, currency, part)
        people.add("credit.applications", application)
        if application["status"] == "APPROVED":
            _offers(people, maker, chance, application, part)


def _application(maker: Maker, chance: random.Random, currency: str, part: int) -> Row:
    days_ago = chance.uniform(5, 900)
    status = chance.choices(("APPROVED", "DECLINED", "SUBMITTED", "WITHDRAWN"), (60, 15, 15, 10))[0]
    is_open = status == "SUBMITTED"
    return {
        "application_id": maker.id("application", part),
        "customer_id": maker.id("customer"),
        "application_number": f"A-{maker.seed}-{maker.number}-{part}",
        "requested_amount_minor": chance.randint(1, 40) * THOUSAND_MINOR[currency],
        "currency": currency,
        "term_months": chance.choice((6, 12, 24, 36, 60)),
        "purpose": chance.choice(PURPOSES),
        "status": status,
        "decision_reason": "income not sufficient" if status == "DECLINED" else None,
        "submitted_at": maker.ago(chance.uniform(0, 5) if is_open else days_ago),
        "decided_at": None if is_open else maker.ago(days_ago - chance.uniform(0.1, 3)),
    }


def _offers(
    people: People, maker: Maker, chance: random.Random, application: Row, part: int
) -> None:
    taken = chance.random() < 0.8
    for number in range(chance.randint(1, 3)):
        rate = chance.choice(RATES)
        amount, months = application["requested_amount_minor"], application["term_months"]
        is_accepted = taken and number == 0
        offer = {
            "offer_id": maker.id(f"offer {part}", number),
            "application_id": application["application_id"],
            "provider": PROVIDERS[number],
            "amount_minor": amount,
            "currency": application["currency"],
            "interest_rate": rate,
            "apr": rate + Decimal(chance.randint(0, 20)) / 1000,
            "term_months": months,
            "monthly_payment_minor": schedule.monthly_payment(amount, rate, months),
            "status": "ACCEPTED" if is_accepted else chance.choice(("DECLINED", "EXPIRED")),
            "valid_until": application["decided_at"] + timedelta(days=30),
        }
        people.add("credit.offers", offer)
        if is_accepted:
            start = (application["decided_at"] + timedelta(days=chance.randint(1, 4))).date()
            _credit(people, maker, chance, offer, (part, min(start, maker.today)))


def _credit(
    people: People, maker: Maker, chance: random.Random, offer: Row, made: tuple[int, date]
) -> None:
    part, start = made
    credit_id = maker.id("credit", part)
    principal = offer["amount_minor"]
    instalments = schedule.annuity(principal, offer["interest_rate"], offer["term_months"], start)
    payments = _repay(maker, chance, instalments)
    for instalment in instalments:
        row = _payment(maker, credit_id, instalment, payments.get(instalment.number))
        people.add("credit.payments", {**row, "currency": offer["currency"]})
    outstanding = principal - sum(
        # Interest is paid first, principal with what is left.
        max(0, payments[i.number][0] - i.interest_minor)
        for i in instalments
        if i.number in payments
    )
    people.add(
        "credit.active_credits",
        {
            "credit_id": credit_id,
            "customer_id": maker.id("customer"),
            "account_id": maker.id("account"),
            "offer_id": offer["offer_id"],
            "credit_number": f"C-{maker.seed}-{maker.number}-{part}",
            "principal_minor": principal,
            "outstanding_principal_minor": outstanding,
            "currency": offer["currency"],
            "interest_rate": offer["interest_rate"],
            "term_months": offer["term_months"],
            "monthly_payment_minor": offer["monthly_payment_minor"],
            "status": _status(maker.today, instalments, payments, outstanding),
            "disbursed_on": start,
            "matures_on": instalments[-1].due_date,
        },
    )


def _repay(
    maker: Maker, chance: random.Random, instalments: tuple[schedule.Instalment, ...]
) -> dict[int, tuple[int, date]]:
    """Amount and day for each instalment that has been paid on, by the customer's habit."""
    habit = chance.choices(tuple(HABITS), tuple(HABITS.values()))[0]
    stops_after = chance.randint(1, len(instalments))
    paid = {}
    for instalment in instalments:
        amount, day = instalment.due_minor, instalment.due_date - timedelta(days=1)
        if habit == "never" or (habit == "stopped" and instalment.number > stops_after):
            break
        if habit == "late" and chance.random() < 0.5:
            day = instalment.due_date + timedelta(days=chance.randint(1, 25))
        if day >= maker.today:
            break
        if habit == "partial" and instalment.number > stops_after:
            amount //= 2
        if amount > 0:
            paid[instalment.number] = (amount, day)
        if amount < instalment.due_minor:
            break
    return paid


def _status(
    today: date,
    instalments: tuple[schedule.Instalment, ...],
    payments: dict[int, tuple[int, date]],
    outstanding: int,
) -> CreditStatus:
    unpaid = [i for i in instalments if payments.get(i.number, (0,))[0] < i.due_minor]
    if not unpaid and outstanding == 0:
        return CreditStatus.PAID_OFF
    days_past_due = (today - unpaid[0].due_date).days
    if days_past_due > CHARGED_OFF_AFTER_DAYS:
        return CreditStatus.CHARGED_OFF
    return (
        CreditStatus.DELINQUENT if days_past_due > DELINQUENT_AFTER_DAYS else CreditStatus.CURRENT
    )


def _payment(
    maker: Maker,
    credit_id: UUID,
    instalment: schedule.Instalment,
    payment: tuple[int, date] | None,
) -> Row:
    paid, paid_on = payment or (0, None)
    status = PaymentStatus.SCHEDULED
    if paid_on:
        status = PaymentStatus.PAID if paid == instalment.due_minor else PaymentStatus.PARTIAL
    return {
        "payment_id": maker.id(f"payment {credit_id}", instalment.number),
        "credit_id": credit_id,
        "installment_number": instalment.number,
        "due_date": instalment.due_date,
        "due_amount_minor": instalment.due_minor,
        "principal_minor": instalment.principal_minor,
        "interest_minor": instalment.interest_minor,
        "paid_amount_minor": paid,
        "paid_at": f"{paid_on} 12:00:00+00" if paid_on else None,
        "status": status,
    }
