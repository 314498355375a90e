"""Facts as copies have them: hashes and rows become facts, rows become the hashes that are missing.

The hashes are those that streams/cache keeps from the log. A copy without one of its parts is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import orjson

from schemas import keys
from schemas.cached_rows import POSITION, stamp
from schemas.codes_compliance import AmlCheckStatus
from streams.authorization.history import CardHistory, milliseconds
from streams.authorization.policy import Account, Card, CardFacts, Customer, Health, KycRecord
from streams.store import COMPLETE, NO_POSITION, Write

__all__ = ["from_hashes", "from_row", "history", "milliseconds", "writes"]

# Where a copy that was read from the database stood in the log.
READ_AT = "_lsn"
SANCTIONS = "sanctions"
UNKNOWN = CardHistory.empty()
Hash = Mapping[str, str]


def from_hashes(
    card: Hash, account: Hash, customer: Hash, kyc: Hash, history: CardHistory | None
) -> CardFacts | None:
    """The facts in the copies; none when one of them is missing, a history apart."""
    if not ("status" in card and "status" in account and "status" in customer and COMPLETE in kyc):
        return None
    return CardFacts(
        Card(
            card["account_id"],
            card["product"],
            card["status"],
            date.fromisoformat(card["expires_on"]),
        ),
        Account(
            account["customer_id"],
            account["currency"],
            int(account["credit_limit_minor"]),
            int(account["posted_minor"]),
            int(account["held_minor"]),
            account["status"],
            account["program_id"],
        ),
        Customer(customer["status"], customer["country"]),
        tuple(
            _kyc_copy(text)
            for name, text in kyc.items()
            if name[-len(POSITION) :] != POSITION and name not in (COMPLETE, SANCTIONS)
        ),
        is_sanctioned=kyc.get(SANCTIONS) == AmlCheckStatus.CONFIRMED_MATCH,
        history=history or UNKNOWN,
        is_copy=True,
        lsn=_read_at(card, account, customer),
        source="redis",
    )


def from_row(row: Mapping[str, Any]) -> CardFacts:
    """The facts in a row of the database."""
    numerator = row["numerator"]
    return CardFacts(
        Card(row["account_id"], row["product"], row["card_status"], row["expires_on"]),
        Account(
            row["customer_id"],
            row["currency"],
            row["credit_limit_minor"],
            row["posted_minor"],
            row["held_minor"],
            row["account_status"],
            row["program_id"],
        ),
        Customer(row["customer_status"], row["country"]),
        tuple(_kyc_record(record) for record in row["kyc_records"]),
        is_sanctioned=row["is_sanctioned"],
        health=None if numerator is None else Health(numerator, row["debt"], row["priced_at"]),
        lsn=row["lsn"],
    )


def history(text: str) -> CardHistory | None:
    """The history in a copy; none when it cannot be read."""
    try:
        return CardHistory.loads(text.encode())
    except (ValueError, TypeError):
        return None


def writes(row: Mapping[str, Any]) -> list[Write]:
    """The row's copies, as capture would have written them."""
    kyc_key = keys.kyc_snapshot(row["customer_id"])
    return [
        _snapshot(
            keys.card_snapshot(row["card_id"]),
            account_id=row["account_id"],
            product=row["product"],
            status=row["card_status"],
            expires_on=row["expires_on"].isoformat(),
        ),
        _snapshot(
            keys.account_snapshot(row["account_id"]),
            customer_id=row["customer_id"],
            currency=row["currency"],
            credit_limit_minor=row["credit_limit_minor"],
            posted_minor=row["posted_minor"],
            held_minor=row["held_minor"],
            status=row["account_status"],
            program_id=row["program_id"],
            **{READ_AT: row["lsn"]},
        ),
        _snapshot(
            keys.customer_snapshot(row["customer_id"]),
            status=row["customer_status"],
            country=row["country"],
        ),
        *(_field(kyc_key, name, text) for name, text in _kyc_fields(row)),
        # Last, so that the mark stands only over all of it.
        _field(kyc_key, COMPLETE, "1"),
    ]


def _kyc_fields(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for record in row["kyc_records"]:
        said = {k: v for k, v in record.items() if v is not None and k != "kyc_record_id"}
        yield record["kyc_record_id"], orjson.dumps(said).decode()
    if row["is_sanctioned"]:
        yield SANCTIONS, AmlCheckStatus.CONFIRMED_MATCH


def _snapshot(key: str, **fields: Any) -> Write:
    texts = {name: str(value) for name, value in fields.items()}
    return Write(key, POSITION, NO_POSITION, texts, (), keys.SNAPSHOT_TTL_S)


def _field(key: str, name: str, text: str) -> Write:
    return Write(key, f"{name}:{POSITION}", NO_POSITION, {name: text}, (), keys.SNAPSHOT_TTL_S)


def _read_at(*hashes: Hash) -> str | None:
    """The latest place in the log that the copies show."""
    latest = stamp(max(found.get(POSITION, "") for found in hashes))
    if latest is None:
        return hashes[1].get(READ_AT)
    number = latest.lsn
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


@lru_cache(4096)
def _kyc_copy(text: str) -> KycRecord:
    return _kyc_record(orjson.loads(text))


def _kyc_record(found: Mapping[str, str | None]) -> KycRecord:
    expires_at = found.get("expires_at")
    return KycRecord(
        str(found["verification_type"]),
        str(found["status"]),
        datetime.fromisoformat(str(found["updated_at"])),
        datetime.fromisoformat(expires_at) if expires_at else None,
    )
