"""Which of the source's column types arrive in the lake as which type of a contract. Pure.

Capture gives each type of Postgres one shape; a column whose type was changed to one that the
contract's does not fit is quarantined, and the witness has to say the same of it.
"""

from __future__ import annotations

# Object ids of Postgres' own types are fixed (pg_type.dat).
BOOLEAN = 16
INTEGERS = frozenset({20, 21, 23, 26})
FLOATS = frozenset({700, 701})
NUMERIC = 1700
DATE = 1082
TIMESTAMP_TZ = 1184
# Not text either: bytea, money, timestamp, time, interval, bit, varbit, point.
OTHERS = frozenset({17, 790, 1114, 1083, 1186, 1560, 1562, 600})
NO_TEXT = INTEGERS | FLOATS | OTHERS | {BOOLEAN, NUMERIC, DATE}

TEXTS = frozenset({"uuid", "string", "code", "json"})
WIDEST_DECIMAL = 38
_HEADER = 4


def is_carried(type_oid: int, modifier: int, contract_type: str) -> bool:
    """Whether values of a column of this type reach a contract's column of that type."""
    if contract_type in TEXTS:
        # Domains and enums have ids of their own; capture sends them as text.
        return type_oid not in NO_TEXT
    if contract_type in ("long", "integer"):
        return type_oid in INTEGERS
    if contract_type == "decimal":
        return type_oid == NUMERIC and _precision(modifier) <= WIDEST_DECIMAL
    if contract_type == "date":
        return type_oid == DATE
    if contract_type == "boolean":
        return type_oid == BOOLEAN
    return type_oid == TIMESTAMP_TZ


def _precision(modifier: int) -> int:
    """Digits of a numeric(p, s); a numeric without limits is sent in another shape."""
    return (modifier - _HEADER) >> 16 if modifier >= _HEADER else WIDEST_DECIMAL + 1
