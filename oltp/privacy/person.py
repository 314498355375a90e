"""A person's columns in customer.customers, made from what is known in plain."""

from __future__ import annotations

from datetime import date
from typing import Any

from oltp.privacy.masking import mask
from oltp.privacy.subject import Subject
from oltp.privacy.vault import Vault

SEALED = ("full_name", "email", "phone", "national_id", "birth_date")
MASKED = ("email", "phone")
INDEXED = ("email", "phone", "national_id")


def sealed_person(
    vault: Vault,
    subject: Subject,
    *,
    full_name: str | None = None,
    email: str | None = None,
    phone: str | None = None,
    national_id: str | None = None,
    birth_date: date | str | None = None,
) -> dict[str, Any]:
    """Sealed, masked and index columns and birth_year, always all of them; blank counts as null.

    A birth date is given as a date or in ISO form; ValueError otherwise.
    """
    born = _day(birth_date)
    plain = {
        "full_name": full_name,
        "email": email,
        "phone": phone,
        "national_id": national_id,
        "birth_date": born.isoformat() if born else None,
    }
    known = {name: value.strip() for name, value in plain.items() if value and value.strip()}
    sealed = {name: _apply(known, name, subject.seal) for name in SEALED}
    masked = {f"{name}_masked": _apply(known, name, mask) for name in MASKED}
    indexed = {f"{name}_index": _apply(known, name, vault.blind_index) for name in INDEXED}
    return {**sealed, **masked, "birth_year": born.year if born else None, **indexed}


def _apply(known: dict[str, str], name: str, make: Any) -> str | None:
    return make(name, known[name]) if name in known else None


def _day(value: date | str | None) -> date | None:
    if value is None or isinstance(value, date):
        return value
    return date.fromisoformat(value.strip()) if value.strip() else None
