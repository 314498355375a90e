"""What each of the bank's rows is in the operational tables. Pure; ids derive from the source's.

account -> card account (limit 0: it is a deposit account) of the client who owns it; client ->
customer; disposition -> account holder; card -> card; loan -> credit at 0 % with its schedule;
transaction -> posted ledger entry. Amounts are hellers of CZK.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from oltp import schedule
from oltp.berka.files import Rejection, Row
from schemas import codes

NAMESPACE = UUID("5f0a7f8e-8a55-5c0b-9a3e-6d0f1b7c2d41")
CURRENCY = "CZK"
ROLE = {"OWNER": codes.HolderRole.OWNER, "DISPONENT": codes.HolderRole.AUTHORIZED_USER}
# A finished, nothing owed; B finished, not repaid; C running, in order; D running, in debt.
CREDIT_STATUS = {
    "A": codes.CreditStatus.PAID_OFF,
    "B": codes.CreditStatus.CHARGED_OFF,
    "C": codes.CreditStatus.CURRENT,
    "D": codes.CreditStatus.DELINQUENT,
}
LOAN_PAYMENT = "UVER"
# By what it is for, and only then by how it was done.
ENTRY_BY_SYMBOL = {
    LOAN_PAYMENT: codes.EntryType.PAYMENT,
    "UROK": codes.EntryType.INTEREST,
    "SANKC. UROK": codes.EntryType.INTEREST,
    "SLUZBY": codes.EntryType.FEE,
}
ENTRY_BY_OPERATION = {
    "VKLAD": codes.EntryType.DEPOSIT,
    "PREVOD Z UCTU": codes.EntryType.TRANSFER_IN,
    "PREVOD NA UCET": codes.EntryType.TRANSFER_OUT,
    "VYBER": codes.EntryType.WITHDRAWAL,
    "VYBER KARTOU": codes.EntryType.WITHDRAWAL,
    "": codes.EntryType.INTEREST,
}
# The files do not say how long a card is valid.
CARD_VALID_MONTHS = 48


def identifier(kind: str, number: int) -> UUID:
    """The id of what the bank calls `number`."""
    return uuid5(NAMESPACE, f"{kind}:{number}")


def reference(kind: str, number: int) -> str:
    """How the source is named in `external_ref`."""
    return f"berka:{kind}:{number}"


def known(
    rows: Iterable[Row], file: str, column: str, keys: Iterable[int], rejections: list[Rejection]
) -> list[Row]:
    """The rows whose `column` names something that was read; the others are rejected."""
    keys = set(keys)
    kept = []
    for row in rows:
        if row[column] in keys:
            kept.append(row)
        else:
            reason = f"there is no {column.removesuffix('_id')} {row[column]}"
            rejections.append(Rejection(file, row["line"], column, reason))
    return kept


def customer(client: Row) -> dict[str, Any]:
    """The bank removed the names."""
    return {
        "customer_id": identifier("client", client["client_id"]),
        "external_ref": reference("client", client["client_id"]),
        "full_name": f"Client {client['client_id']}",
        "birth_date": client["birth_number"],
        "country": "CZ",
    }


def card_account(account: Row, owner: int) -> dict[str, Any]:
    """Totals start at zero: the entries move them."""
    return {
        "account_id": identifier("account", account["account_id"]),
        "customer_id": identifier("client", owner),
        "external_ref": reference("account", account["account_id"]),
        "currency": CURRENCY,
        "credit_limit_minor": 0,
        "opened_on": account["date"],
    }


def account_holder(disposition: Row) -> dict[str, Any]:
    """Owners and authorized users alike."""
    return {
        "account_holder_id": identifier("disp", disposition["disp_id"]),
        "account_id": identifier("account", disposition["account_id"]),
        "customer_id": identifier("client", disposition["client_id"]),
        "role": ROLE[disposition["type"]],
    }


def card(row: Row, account_of_disposition: dict[int, int]) -> dict[str, Any]:
    """On the account of the card's disposition."""
    return {
        "card_id": identifier("card", row["card_id"]),
        "account_id": identifier("account", account_of_disposition[row["disp_id"]]),
        "external_ref": reference("card", row["card_id"]),
        "product": codes.CardProduct(row["type"].upper()),
        "issued_on": row["issued"],
        "expires_on": schedule.months_after(row["issued"], CARD_VALID_MONTHS),
    }


def loan_rejection(loan: Row) -> Rejection | None:
    """A loan whose instalments do not add up to it, or that has none."""
    if loan["duration"] == 0:
        return Rejection("loan.asc", loan["line"], "duration", "0 is no term")
    if loan["duration"] * loan["payments"] != loan["amount"]:
        reason = f"{loan['duration']} payments do not add up to the amount"
        return Rejection("loan.asc", loan["line"], "payments", reason)
    return None


def credit(
    loan: Row, owner: int, payments: list[tuple[date, int]], observed_through: date
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The credit and its instalments, with what the account is seen to have paid on them.

    Exactly first in, first out: the bank's standing orders round to other cents than its loans, so
    a cent may stay open until the next payment.
    """
    credit_id = identifier("loan", loan["loan_id"])
    instalments = schedule.annuity(loan["amount"], Decimal(0), loan["duration"], loan["date"])
    paid = schedule.allocate(instalments, payments)
    seen_minor = sum(part.amount_minor for part in paid.values())
    status = CREDIT_STATUS[loan["status"]]
    is_paid_off = status is codes.CreditStatus.PAID_OFF
    row = {
        "credit_id": credit_id,
        "customer_id": identifier("client", owner),
        "account_id": identifier("account", loan["account_id"]),
        "credit_number": f"BERKA-{loan['loan_id']}",
        "principal_minor": loan["amount"],
        # What became of a finished loan is its status's word, not the cut transactions'.
        "outstanding_principal_minor": 0 if is_paid_off else loan["amount"] - seen_minor,
        "currency": CURRENCY,
        "interest_rate": Decimal(0),
        "term_months": loan["duration"],
        "monthly_payment_minor": loan["payments"],
        "status": status,
        "source_status": loan["status"],
        "observed_through": observed_through,
        "disbursed_on": loan["date"],
        "matures_on": instalments[-1].due_date,
    }
    return row, [_payment(credit_id, loan, i, paid.get(i.number)) for i in instalments]


def _payment(
    credit_id: UUID, loan: Row, instalment: schedule.Instalment, paid: schedule.Paid | None
) -> dict[str, Any]:
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
        "paid_at": f"{paid.last_on} 00:00:00+00" if paid else None,
        "currency": CURRENCY,
        "status": status,
    }


def loan_payments(transactions: Iterable[Row]) -> dict[int, list[tuple[date, int]]]:
    """What each account paid on its loan, day by day."""
    payments: dict[int, list[tuple[date, int]]] = defaultdict(list)
    for row in transactions:
        if row["k_symbol"] == LOAN_PAYMENT:
            payments[row["account_id"]].append((row["date"], row["amount"]))
    return payments


def ledger_entry(transaction: Row) -> dict[str, Any]:
    """PRIJEM lowers what the customer owes; VYDAJ and VYBER raise it."""
    by_operation = ENTRY_BY_OPERATION[transaction["operation"]]
    is_credit = transaction["type"] == "PRIJEM"
    return {
        "entry_id": identifier("trans", transaction["trans_id"]),
        "account_id": identifier("account", transaction["account_id"]),
        "entry_type": ENTRY_BY_SYMBOL.get(transaction["k_symbol"], by_operation),
        "bucket": codes.Bucket.POSTED,
        "direction": codes.Direction.CREDIT if is_credit else codes.Direction.DEBIT,
        "amount_minor": transaction["amount"],
        "currency": CURRENCY,
        "effective_at": f"{transaction['date']} 00:00:00+00",
        "external_ref": reference("trans", transaction["trans_id"]),
    }


def by_month(transactions: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """In order of date, a month at a time; within a day in the file's order."""
    month: Callable[[Row], str] = lambda row: f"{row['date']:%Y-%m}"  # noqa: E731
    chunk: list[Row] = []
    for row in sorted(transactions, key=lambda row: row["date"]):
        if chunk and month(chunk[-1]) != month(row):
            yield month(chunk[-1]), chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield month(chunk[-1]), chunk
