"""Which hashes a change of a customer, KYC record, screening, account or card becomes. Pure.

Snapshots hold only what a decision needs: no name, address or birth date. Values are text: dates
and times in ISO form, amounts as digits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas import contract, keys
from schemas.cached_rows import CACHED_ROWS, POSITION
from schemas.codes_compliance import AmlCheckStatus, AmlCheckType

Row = Mapping[str, Any]
EPOCH = date(1970, 1, 1)
# An answer about sanctions; a search that found something to look into says neither.
SANCTIONS = "sanctions"
ANSWERS = frozenset({AmlCheckStatus.CLEAR.value, AmlCheckStatus.CONFIRMED_MATCH.value})
KYC_COLUMNS = ("verification_type", "status", "expires_at", "updated_at")


@dataclass(frozen=True)
class Edit:
    """Fields to set and drop in one hash, guarded by the position under `guard`.

    What has an `age` of its own is ordered by that first: a later answer stands, whichever of them
    was changed last.
    """

    key: str
    guard: str
    fields: Mapping[str, str]
    drop: tuple[str, ...]
    age: str = ""


SNAPSHOTS = CACHED_ROWS
KYC, SCREENING = "kyc_records", "aml_checks"
ENTITIES = (*SNAPSHOTS, KYC, SCREENING)


def edits(entity: str, before: Row | None, after: Row | None) -> tuple[Edit, ...]:
    """What Redis must hold after the change; a deleted row leaves only its guard."""
    if entity == KYC:
        return _kyc(before, after)
    if entity == SCREENING:
        return _screening(after)
    snapshot = SNAPSHOTS[entity]
    row = after if after is not None else before
    if row is None:
        raise ValueError("a change has a row")
    key = snapshot.key(str(row[snapshot.id_column]))
    fields = {} if after is None else _texts(entity, after, snapshot.columns)
    return (Edit(key, POSITION, fields, tuple(c for c in snapshot.columns if c not in fields)),)


def _kyc(before: Row | None, after: Row | None) -> tuple[Edit, ...]:
    """One field a record in the customer's hash; a record that moves leaves its old customer."""
    found = []
    for row, is_there in ((before, False), (after, True)):
        if row is None or row.get("customer_id") is None:
            continue
        if not is_there and after is not None and after["customer_id"] == row["customer_id"]:
            continue
        record_id = str(row["kyc_record_id"])
        fields = (
            {record_id: json.dumps(_texts(KYC, row, KYC_COLUMNS), sort_keys=True)}
            if is_there
            else {}
        )
        found.append(
            Edit(
                keys.kyc_snapshot(str(row["customer_id"])),
                f"{record_id}:{POSITION}",
                fields,
                () if is_there else (record_id,),
            )
        )
    return tuple(found)


def _screening(after: Row | None) -> tuple[Edit, ...]:
    """The customer's latest answer about sanctions, beside the KYC records."""
    if (
        after is None
        or after.get("customer_id") is None
        or after["check_type"] != AmlCheckType.SANCTIONS
        or after["status"] not in ANSWERS
    ):
        return ()
    text_of = _texts(SCREENING, after, ("checked_at",))["checked_at"]
    # Of one width, so that the later one is the greater text.
    checked_at = datetime.fromisoformat(text_of).astimezone(UTC).isoformat(timespec="microseconds")
    key = keys.kyc_snapshot(str(after["customer_id"]))
    guard = f"{SANCTIONS}:{POSITION}"
    return (Edit(key, guard, {SANCTIONS: after["status"]}, (), f"{checked_at}."),)


def _texts(entity: str, row: Row, columns: tuple[str, ...]) -> dict[str, str]:
    """The row's values as text; a null column is left out."""
    types = contract.load(entity)
    return {
        name: text(types.column(name).type, row[name])
        for name in columns
        if row.get(name) is not None
    }


def text(kind: str, value: Any) -> str:
    """A value as capture or the database gives it, as the text that snapshots hold."""
    if kind == "date" and isinstance(value, int):
        return (EPOCH + timedelta(days=value)).isoformat()
    if kind == "timestamp" and isinstance(value, int):
        return datetime.fromtimestamp(value / 1_000_000, UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value).strip()
