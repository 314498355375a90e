"""Increments as silver hands them over: Arrow tables of a contract's columns, all of them valid."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from schemas import contract

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "string": "x", "long": 100, "integer": 12, "decimal": Decimal("0.071250"),
    "date": date(2026, 3, 1), "timestamp": AT, "boolean": True, "json": "{}",
}  # fmt: skip
TYPES = {
    "uuid": pa.string(), "string": pa.string(), "code": pa.string(), "json": pa.string(),
    "long": pa.int64(), "integer": pa.int32(), "decimal": pa.decimal128(9, 6),
    "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"), "boolean": pa.bool_(),
}  # fmt: skip
SEALED = "enc:1:" + "A" * 30
BY_NAME: dict[str, Any] = {
    "currency": "USD", "country": "US", "merchant_country": "US", "mcc": "5411",
    "request_hash": "a" * 64, "response_code": "00", "full_name": SEALED,
    "email": SEALED, "phone": SEALED, "national_id": SEALED, "birth_date": SEALED,
    "email_index": "a" * 64, "phone_index": "b" * 64, "national_id_index": "c" * 64,
    "birth_year": 1990,
}  # fmt: skip
# What a valid row needs beyond plain values.
BY_ENTITY: dict[str, dict[str, Any]] = {
    "active_credits": {"matures_on": date(2027, 3, 1), "outstanding_principal_minor": 60},
    "authorizations": {"account_id": str(UUID(int=7))},
    "applications": {"decided_at": None, "decision_reason": None},
    "card_accounts": {"posted_minor": 20, "held_minor": 30},
    "cards": {"expires_on": date(2030, 3, 1)},
    "customers": {"closed_at": None},
    "holds": {"expires_at": AT + timedelta(days=7)},
    "kyc_records": {"verified_at": None, "expires_at": None},
    "ledger_entries": {"authorization_id": str(UUID(int=7)), "hold_id": str(UUID(int=8))},
    "offers": {"valid_until": AT + timedelta(days=30)},
    "payments": {"interest_minor": 20, "principal_minor": 80, "paid_amount_minor": 0,
                 "fees_minor": 0, "fees_paid_minor": 0, "paid_at": None},
}  # fmt: skip


def row(entity: str, number: int = 1, **values: Any) -> dict[str, Any]:
    """One valid row, then the values that are given."""
    made: dict[str, Any] = {}
    for column in contract.load(entity).columns:
        value = column.allowed[0] if column.allowed else PLAIN.get(column.type)
        if column.type == "uuid":
            value = str(UUID(int=number)) if column.required else None
        made[column.name] = BY_NAME.get(column.name, value)
    return made | BY_ENTITY.get(entity, {}) | {"_is_deleted": False} | values


def table(entity: str, *rows: dict[str, Any]) -> pa.Table:
    """Rows with the types that silver has."""
    fields = [pa.field(c.name, TYPES[c.type]) for c in contract.load(entity).columns]
    fields.append(pa.field("_is_deleted", pa.bool_()))
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def valid(entity: str, rows: int) -> pa.Table:
    """An increment that keeps every rule."""
    return table(entity, *(row(entity, number) for number in range(1, rows + 1)))
