"""Which copies stand-in approves on, and which row becomes which part of them. Pure.

A copy is a hash of parts; each part is guarded by the epoch and the place in the log it was written
at, so the gateway can tell a part that was rebuilt since Redis last started from one that was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from schemas import keys
from schemas.codes import AccountStatus, CardStatus, CustomerStatus

UNIX_EPOCH = date(1970, 1, 1)
CARD, ACCOUNT, CUSTOMER, PROGRAM = "card", "account", "customer", "program"
# Parts, by the name of their guard.
ROW, SCREENING = "_position", "_screened"
# The guards that must carry the current epoch before anything is approved.
GUARDS = {CARD: (ROW,), ACCOUNT: (ROW,), CUSTOMER: (ROW, SCREENING), PROGRAM: (ROW,)}
YES, NO = "1", "0"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """Fields of one copy that stand or fall together; none when the row is gone."""

    key: str
    guard: str
    fields: Mapping[str, str]


def part(entity: str, row: Row, is_there: bool = True) -> Part:
    """What the copy of a card, account, customer or program must say after its row is `row`."""
    make = {CARD: _card, ACCOUNT: _account, CUSTOMER: _customer, PROGRAM: _program}[entity]
    entity_id = str(row[f"{entity}_id"])
    return Part(keys.stand_in_copy(entity, entity_id), ROW, make(row) if is_there else {})


def screening(customer_id: str, is_sanctioned: bool) -> Part:
    """What a screening said of the customer."""
    fields = {"is_sanctioned": YES if is_sanctioned else NO}
    return Part(keys.stand_in_copy(CUSTOMER, customer_id), SCREENING, fields)


def place(epoch: str, position: str) -> str:
    """The guard's text: it sorts by epoch, then by place in the log; a rebuild has no place."""
    return f"{epoch}.{position}"


def epoch_text(number: int) -> str:
    """An epoch as text of fixed width."""
    return f"{number:020d}"


def _card(row: Row) -> dict[str, str]:
    expires_on = row["expires_on"]
    if isinstance(expires_on, int):  # as capture writes days
        expires_on = UNIX_EPOCH + timedelta(days=expires_on)
    return {
        "account_id": str(row["account_id"]),
        "is_usable": YES if row["status"] == CardStatus.ACTIVE else NO,
        "expires_on": expires_on.isoformat(),
    }


def _account(row: Row) -> dict[str, str]:
    available = row["credit_limit_minor"] - row["posted_minor"] - row["held_minor"]
    return {
        "customer_id": str(row["customer_id"]),
        "program_id": str(row["program_id"]),
        "currency": str(row["currency"]).strip(),
        "is_usable": YES if row["status"] == AccountStatus.ACTIVE else NO,
        "available_minor": str(available),
    }


def _customer(row: Row) -> dict[str, str]:
    return {"is_usable": YES if row["status"] == CustomerStatus.ACTIVE else NO}


def _program(row: Row) -> dict[str, str]:
    return {
        "amount_minor": str(row["stand_in_amount_minor"]),
        "count": str(row["stand_in_count"]),
    }
