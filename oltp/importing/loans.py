"""Credits of a source that gives loans and, apart from them, the payments that were seen.

Payments are set against instalments oldest first, to the last minor unit. The ledger tells the
same: what was disbursed, each repayment that was seen, and for a loan that the source calls
finished one OPENING entry for what was repaid outside the files, so that history that was not
shipped is explicit. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from oltp import posting, schedule
from oltp.importing.mapping import Loans, Row, World, holds
from schemas import codes

Made = dict[str, Any]
# One entry with the accounts it debits and credits, its amount and currency.
Entry = tuple[Made, UUID, UUID, int, str]


def fault(step: Loans, loan: Row) -> tuple[str, str] | None:
    """A loan whose instalments do not add up to it, or that has none: the column, and why."""
    term, payment = loan[step.term], loan[step.payment]
    if not 1 <= term <= 480:
        return step.term, "is no term of 1 to 480 months"
    if term * payment != loan[step.principal]:
        return step.payment, f"times {term} does not add up to {step.principal}"
    return None


def payments_seen(step: Loans, rows: list[Row]) -> dict[Any, list[Row]]:
    """The payments of each account, oldest first."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        if holds(step.payments_where, row):
            found[row[step.payments_on]].append(row)
    for payments in found.values():
        payments.sort(key=lambda row: row[step.payments_day])
    return found


def build(
    step: Loans, loan: Row, world: World, payments: list[Row], seen: date | None
) -> tuple[Made, list[Made], list[Entry]]:
    """The credit, its instalments and its entries. `seen` is the last day payments are known of."""
    columns = {name: made.evaluate(loan, world) for name, made in step.columns.items()}
    credit_id, status = columns["credit_id"], step.status.evaluate(loan, world)
    principal, start = loan[step.principal], loan[step.start]
    instalments = schedule.annuity(principal, Decimal(0), loan[step.term], start)
    paid = schedule.allocate(
        instalments, [(row[step.payments_day], row[step.payments_amount]) for row in payments]
    )
    credit = columns | {
        "principal_minor": principal,
        "currency": step.currency,
        "interest_rate": Decimal(0),
        "term_months": loan[step.term],
        "monthly_payment_minor": loan[step.payment],
        "status": status,
        "observed_through": seen or start,
        "disbursed_on": start,
        "matures_on": instalments[-1].due_date,
    }
    rows = [_payment(step, credit_id, one, paid.get(one.number)) for one in instalments]
    entries = [_disbursement(step, credit_id, principal, start)]
    left = principal
    for row in payments:
        part = min(left, row[step.payments_amount])
        if part:
            entries.append(_repayment(step, credit_id, row, part))
            left -= part
    if left and status == step.finished:
        entries.append(_unseen(step, credit_id, left, instalments[-1].due_date))
    return credit, rows, entries


def _payment(
    step: Loans, credit_id: UUID, instalment: schedule.Instalment, paid: schedule.Paid | None
) -> Made:
    status = codes.PaymentStatus.SCHEDULED
    if paid:
        is_full = paid.amount_minor == instalment.due_minor
        status = codes.PaymentStatus.PAID if is_full else codes.PaymentStatus.PARTIAL
    return {
        "payment_id": uuid5(credit_id, str(instalment.number)),
        "credit_id": credit_id,
        "installment_number": instalment.number,
        "due_date": instalment.due_date,
        "due_amount_minor": instalment.due_minor,
        "principal_minor": instalment.principal_minor,
        "interest_minor": instalment.interest_minor,
        "paid_amount_minor": paid.amount_minor if paid else 0,
        "paid_at": paid.last_on if paid else None,
        "currency": step.currency,
        "status": str(status),
    }


def _disbursement(step: Loans, credit_id: UUID, amount: int, day: date) -> Entry:
    head = _head(credit_id, "DISBURSEMENT", "disbursement", day)
    return head, credit_id, posting.house("CASH", step.currency), amount, step.currency


def _repayment(step: Loans, credit_id: UUID, row: Mapping[str, Any], amount: int) -> Entry:
    seen_as = f"repayment:{row['_key']}"
    head = _head(credit_id, "REPAYMENT", seen_as, row[step.payments_day])
    return head, posting.house("CASH", step.currency), credit_id, amount, step.currency


def _unseen(step: Loans, credit_id: UUID, amount: int, day: date) -> Entry:
    head = _head(credit_id, "OPENING", "unseen", day)
    return head, posting.house("OPENING", step.currency), credit_id, amount, step.currency


def _head(credit_id: UUID, kind: str, what: str, day: date) -> Made:
    return {
        "entry_id": uuid5(credit_id, what),
        "entry_type": kind,
        "effective_at": day,
        "over_limit_allowed": False,
    }
