"""One text for one change or row, whoever writes it: Python, Spark SQL or Postgres SQL. Pure.

A layer agrees with another when the sums of the digests of its texts are equal, so the three
writers must agree to the last byte. The text of a column:

* uuid, string, code, json: what Postgres prints (char(n) padded, inet without a /32)
* long, integer: digits; boolean: true, false; decimal: exactly `scale` digits, never scientific
* date: days since 1970; timestamp: microseconds since 1970
* null, not carried (unchanged and stored out of line; all but the key of a delete), and unfit
  (a value that the contract's type cannot hold): one mark each

Digests are 60 bits of MD5: against accidents and careless hands, not against a forger of digests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from schemas.contract import Column, Contract

SEPARATOR = "\x1f"
NULL = "\x1e"
NOT_CARRIED = "\x1d"
UNFIT = "\x1c"
# Key buckets of a table, compared one by one: a difference is looked for in one of them.
BUCKETS = 64
# The same of a window: more, so that one of them is a small part of a large window.
WINDOW_BUCKETS = 256
_DIGEST_HEX = 15

_INTEGERS = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_BOOLEANS = {"t": "true", "f": "false", "true": "true", "false": "false"}
# BigDecimal.toString is plain up to this scale.
_PLAIN_SCALE = 6
# What silver reads a decimal through, so more integer digits than these do not fit either.
_WIDEST_INTEGER_DIGITS = 20
_DATE = re.compile(r"(\d{4,})-(\d\d)-(\d\d)( BC)?")
_TIMESTAMP = re.compile(
    r"(\d{4,}-\d\d-\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?"
    r"([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?( BC)?"
)
_MICROS = 1_000_000


class Unchanged:
    """The type of UNCHANGED."""


# The value of a column that a change does not carry.
UNCHANGED = Unchanged()
Values = Mapping[str, str | Unchanged | None]


def digest(text: str) -> int:
    """60 bits of the text's MD5; sums of them do not depend on order."""
    sum_of_text = hashlib.md5(text.encode(), usedforsecurity=False)
    return int(sum_of_text.hexdigest()[:_DIGEST_HEX], 16)


def bucket(key_text: str, buckets: int = BUCKETS) -> int:
    """The bucket that a key is in, by its text."""
    return digest(key_text) % buckets


def change_text(contract: Contract, op: str, lsn: int, values: Values) -> str:
    """Operation, position and every column; a column that `values` has not is null."""
    if op in ("d", "t"):
        carried = contract.key if op == "d" else ()
        columns = [
            column_text(c, values.get(c.name)) if c.name in carried else NOT_CARRIED
            for c in contract.columns
        ]
    else:
        columns = [column_text(c, values.get(c.name)) for c in contract.columns]
    return SEPARATOR.join([op, str(lsn), *columns])


def row_text(contract: Contract, names: Sequence[str], values: Values) -> str:
    """The given columns, in their order."""
    return SEPARATOR.join(column_text(contract.column(n), values.get(n)) for n in names)


def key_text(contract: Contract, values: Values) -> str:
    """The key columns."""
    return row_text(contract, contract.key, values)


def column_text(column: Column, value: str | Unchanged | None) -> str:
    """One column from what Postgres printed (ISO dates)."""
    if value is None:
        return NULL
    if isinstance(value, Unchanged):
        return NOT_CARRIED
    return _WRITERS.get(column.type, _as_printed)(value, column)


# --- Spark SQL ------------------------------------------------------------------------------------


def change_text_spark(contract: Contract) -> str:
    """The same over columns as cdc.changes makes them (`_op`, `_lsn`, `_unchanged`, `_wrong`)."""
    columns = (_change_column_spark(contract, column) for column in contract.columns)
    return _joined_spark(["_op", "cast(_lsn as string)", *columns])


def row_text_spark(contract: Contract, names: Sequence[str]) -> str:
    """The given columns, typed as the contract says."""
    return _joined_spark([_or_null_spark(contract.column(name)) for name in names])


def key_text_spark(contract: Contract) -> str:
    """The key columns."""
    return row_text_spark(contract, contract.key)


def digest_spark(text_sql: str) -> str:
    """A bigint; sum it as decimal(38,0)."""
    return f"cast(conv(substring(md5({text_sql}), 1, {_DIGEST_HEX}), 16, 10) as bigint)"


def bucket_spark(key_text_sql: str, buckets: int = BUCKETS) -> str:
    """The bucket of a key's text, an int."""
    return f"cast({digest_spark(key_text_sql)} % {buckets} as int)"


# --- Postgres SQL ---------------------------------------------------------------------------------


def row_text_postgres(contract: Contract, names: Sequence[str]) -> str:
    """The given columns of the source table, or of its copy in the warehouse."""
    columns = (
        f"case when {_p(name)} is null then {_literal_postgres(NULL)}"
        f" else {_column_postgres(contract.column(name))} end"
        for name in names
    )
    return "(" + f" || {_literal_postgres(SEPARATOR)} || ".join(columns) + ")"


def key_text_postgres(contract: Contract) -> str:
    """The key columns."""
    return row_text_postgres(contract, contract.key)


def digest_postgres(text_sql: str) -> str:
    """A bigint; its sum is a numeric. The database's encoding is UTF-8."""
    return f"('x' || substr(md5({text_sql}), 1, {_DIGEST_HEX}))::bit({4 * _DIGEST_HEX})::bigint"


def bucket_postgres(key_text_sql: str, buckets: int = BUCKETS) -> str:
    """The bucket of a key's text, an integer."""
    return f"({digest_postgres(key_text_sql)} % {buckets})::integer"


# --- one column, Python ---------------------------------------------------------------------------


def _as_printed(value: str, column: Column) -> str:
    return value


def _boolean(value: str, column: Column) -> str:
    return _BOOLEANS.get(value, UNFIT)


def _integer(value: str, column: Column) -> str:
    low, high = _INTEGERS[column.type]
    try:
        number = int(value)
    except ValueError:
        return UNFIT
    return str(number) if low <= number <= high else UNFIT


def _decimal(value: str, column: Column) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return UNFIT
    if not number.is_finite():
        return UNFIT
    # By integers: a Decimal context would round.
    sign, digits, exponent = number.as_tuple()
    unscaled = int("".join(map(str, digits)))
    shift = column.scale + int(exponent)
    unscaled, lost = (unscaled * 10**shift, 0) if shift >= 0 else divmod(unscaled, 10**-shift)
    if lost or unscaled >= 10 ** (column.scale + _integer_digits(column)):
        return UNFIT
    text = str(unscaled).rjust(column.scale + 1, "0")
    minus = "-" if sign and unscaled else ""
    return (
        f"{minus}{text[: -column.scale]}.{text[-column.scale :]}" if column.scale else minus + text
    )


def _integer_digits(column: Column) -> int:
    return min(column.precision - column.scale, _WIDEST_INTEGER_DIGITS)


def _date(value: str, column: Column) -> str:
    match = _DATE.fullmatch(value)
    if match is None:
        return UNFIT
    year, month, day, era = match.groups()
    return str(_days(int(year), int(month), int(day), era is not None))


def _timestamp(value: str, column: Column) -> str:
    match = _TIMESTAMP.fullmatch(value)
    if match is None:
        return UNFIT
    date, hour, minute, second, fraction, sign, *offset, era = match.groups()
    year, month, day = date.rsplit("-", 2)
    days = _days(int(year), int(month), int(day), era is not None)
    local_s = days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    hours, minutes, seconds = (int(part or 0) for part in offset)
    offset_s = (hours * 3600 + minutes * 60 + seconds) * (-1 if sign == "-" else 1)
    micros = (local_s - offset_s) * _MICROS + int((fraction or "0").ljust(6, "0"))
    return str(micros) if micros < _LAST_MICROS else UNFIT


def _days(year: int, month: int, day: int, before_christ: bool) -> int:
    """Days since 1970-01-01 in the Gregorian calendar carried on to every year."""
    year = 1 - year if before_christ else year
    # Years begin in March, so that the leap day is the last one.
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


# 64 bits of microseconds end days after it; Postgres goes on.
_LAST_TIMESTAMP = "294247-01-01 00:00:00+00"
_LAST_MICROS = _days(294_247, 1, 1, False) * 86_400 * _MICROS


_WRITERS = {
    "integer": _integer,
    "long": _integer,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
}


# --- one column, Spark SQL ------------------------------------------------------------------------


def _change_column_spark(contract: Contract, column: Column) -> str:
    without = ["_op = 't'"] if column.name in contract.key else ["_op in ('d', 't')"]
    without.append(f"array_contains(_unchanged, '{column.name}')")
    return (
        f"case when {' or '.join(without)} then {_literal_spark(NOT_CARRIED)}"
        f" when array_contains(_wrong, '{column.name}') then {_literal_spark(UNFIT)}"
        f" else {_or_null_spark(column)} end"
    )


def _or_null_spark(column: Column) -> str:
    return f"coalesce({_column_spark(column)}, {_literal_spark(NULL)})"


def _column_spark(column: Column) -> str:
    name = f"`{column.name}`"
    if column.type == "date":
        return f"cast(unix_date({name}) as string)"
    if column.type == "timestamp":
        return f"cast(unix_micros({name}) as string)"
    if column.type == "decimal" and column.scale > _PLAIN_SCALE:
        return f"format_number({name}, '0.{'0' * column.scale}')"
    return f"cast({name} as string)"


def _joined_spark(texts: Sequence[str]) -> str:
    return f"concat_ws({_literal_spark(SEPARATOR)}, {', '.join(texts)})"


def _literal_spark(mark: str) -> str:
    return f"'\\u{ord(mark):04x}'"


# --- one column, Postgres SQL ---------------------------------------------------------------------


def _column_postgres(column: Column) -> str:
    name = _p(column.name)
    unfit = _literal_postgres(UNFIT)
    if column.type == "integer":
        low, high = _INTEGERS["integer"]
        return f"case when {name} between {low} and {high} then {name}::text else {unfit} end"
    if column.type == "decimal":
        rounded = f"round({name}, {column.scale})"
        return (
            f"case when abs({name}) < 1e{_integer_digits(column)} and {name} = {rounded}"
            f" then {rounded}::text else {unfit} end"
        )
    if column.type == "date":
        return (
            f"case when isfinite({name}) then ({name} - date '1970-01-01')::text else {unfit} end"
        )
    if column.type == "timestamp":
        return (
            f"case when {name} > '-infinity' and {name} < '{_LAST_TIMESTAMP}'"
            f" then (extract(epoch from {name}) * {_MICROS})::bigint::text else {unfit} end"
        )
    if column.type == "string":
        # By the type's output function: a cast strips char(n) and gives an inet its /32.
        return f"concat({name})"
    return f"{name}::text"


def _p(name: str) -> str:
    return f'"{name}"'


def _literal_postgres(mark: str) -> str:
    return f"E'\\x{ord(mark):02x}'"
