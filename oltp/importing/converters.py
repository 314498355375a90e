"""Reads one field: text of a source to a value, strictly. Pure; ValueError says what is wrong.

Nothing is rounded, guessed or repaired: an amount with more decimals than its currency has, a
date that the calendar does not have or a code nobody declared is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from schemas import codes

Row = Mapping[str, Any]
# Takes the field and the fields of its row that were read before it.
Convert = Callable[[str, Row], Any]

BIGINT = 2**63 - 1
PLAIN_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?")
EARLIEST = date(1900, 1, 1)


def whole(least: int | None = 0, most: int | None = BIGINT) -> Convert:
    """A whole number between two bounds."""

    def convert(text: str, row: Row) -> int:
        if not re.fullmatch(r"-?[0-9]{1,20}", text):
            raise ValueError("is not a whole number")
        value = int(text)
        if (least is not None and value < least) or (most is not None and value > most):
            raise ValueError(f"is not between {least} and {most}")
        return value

    return convert


def decimal(places: int | None = None) -> Convert:
    """A plain decimal number; no exponent, no NaN."""

    def convert(text: str, row: Row) -> Decimal:
        found = PLAIN_NUMBER.fullmatch(text)
        if found is None or len(text) > 60:
            raise ValueError("is not a plain decimal number")
        if places is not None and len(found[3] or "") > places:
            raise ValueError(f"has more than {places} decimals")
        return Decimal(text)

    return convert


def amount(currency: str, sign: str, by_column: bool) -> Convert:
    """Money as whole minor units, by the exponent of `currency` (or of the column so named)."""

    def convert(text: str, row: Row) -> int:
        unit = row.get(currency) if by_column else currency
        if unit not in codes.EXPONENT:
            raise ValueError("has no known currency")
        found = PLAIN_NUMBER.fullmatch(text)
        if found is None:
            raise ValueError("is not a plain amount of money")
        places = codes.EXPONENT[unit]
        if len(found[3] or "") > places:
            raise ValueError(f"is not an amount with at most {places} decimals, as {unit} has")
        minor = int(found[2]) * 10**places + int((found[3] or "").ljust(places, "0") or 0)
        value: int = -minor if found[1] == "-" else minor
        if sign != "any" and value < 0:
            raise ValueError("is below zero: money back has a type of its own")
        if sign == "positive" and value == 0:
            raise ValueError("is not above zero")
        if abs(value) > BIGINT:
            raise ValueError("is more than fits")
        return value

    return convert


def text(most: int, strip: bool) -> Convert:
    """Text as it came, in composed Unicode (NFC). A formula is text like any other."""

    def convert(text: str, row: Row) -> str | None:
        value = unicodedata.normalize("NFC", text.strip() if strip else text)
        if any(0xD800 <= ord(letter) < 0xE000 for letter in value):
            raise ValueError("has half a character")
        if len(value) > most:
            raise ValueError(f"is longer than {most} characters")
        return value or None

    return convert


def one_of(allowed: tuple[str, ...]) -> Convert:
    """One of the codes that the source is known to use."""

    def convert(text: str, row: Row) -> str:
        if text.strip() not in allowed:
            raise ValueError(f"is none of {', '.join(map(repr, allowed))}")
        return text.strip()

    return convert


def day(form: str, century: int | None, bounds: tuple[date | None, date | None]) -> Convert:
    """A day written as `form`; with `century`, years of two digits are that century's."""
    # strptime is lenient about digits: it would read 93021 as 1993-02-1.
    spelled = form.replace("%Y", "0000")
    length = None if "%b" in form or "%B" in form else len(re.sub("%[a-zA-Z]", "00", spelled))

    @lru_cache(maxsize=50_000)
    def read(text: str) -> date:
        if length is not None and len(text) != length:
            raise ValueError(f"is not a day written {form}")
        try:
            value = datetime.strptime(text, form).date()
        except ValueError:
            raise ValueError(f"is not a day of the calendar written {form}") from None
        if century is not None:
            value = value.replace(year=century + value.year % 100)
        return plausible(value, bounds)

    return lambda text, row: read(text)


def plausible(value: date, bounds: tuple[date | None, date | None]) -> date:
    """The day, unless nothing can have happened on it."""
    first, last = bounds[0] or EARLIEST, bounds[1] or datetime.now(UTC).date() + timedelta(days=1)
    if not first <= value <= last:
        raise ValueError(f"is not between {first} and {last}")
    return value


def moment(form: str | None, bounds: tuple[date | None, date | None]) -> Convert:
    """A point in time, UTC unless it says otherwise; ISO 8601 unless `form` is given."""

    def convert(text: str, row: Row) -> datetime:
        try:
            value = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(f"is not a time written {form or 'as in ISO 8601'}") from None
        plausible(value.date(), bounds)
        return value

    return convert


def birth_number() -> Convert:
    """The birth day in a Czech birth number YYMMDD; women's have 50 added to the month."""
    bounds = (date(1880, 1, 1), None)

    def convert(text: str, row: Row) -> date:
        if len(text) == 6 and text.isdigit() and int(text[2:4]) > 50:
            text = f"{text[:2]}{int(text[2:4]) - 50:02}{text[4:]}"
        try:
            born: date = day("%y%m%d", 1900, bounds)(text, row)
        except ValueError:
            raise ValueError("is not a birth number YYMMDD") from None
        return born

    return convert


def flag(true: tuple[str, ...], false: tuple[str, ...]) -> Convert:
    """Yes or no, in the source's words."""

    def convert(text: str, row: Row) -> bool:
        if text not in true and text not in false:
            raise ValueError(f"is none of {', '.join(true + false)}")
        return text in true

    return convert


def matching(pattern: str, what: str) -> Convert:
    """Text of one form."""
    wanted = re.compile(pattern)

    def convert(text: str, row: Row) -> str:
        if wanted.fullmatch(text) is None:
            raise ValueError(f"is not {what}")
        return text

    return convert


def currency() -> Convert:
    """A currency whose decimals are known."""

    def convert(text: str, row: Row) -> str:
        if text not in codes.EXPONENT:
            raise ValueError(f"is no known currency ({', '.join(codes.EXPONENT)})")
        return text

    return convert


def identifier() -> Convert:
    """A UUID."""

    def convert(text: str, row: Row) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            raise ValueError("is not a UUID") from None

    return convert


def card_token() -> Convert:
    """A card's name in the source. A card number itself must never get here."""
    wanted = re.compile(r"[!-~]{1,64}")

    def convert(text: str, row: Row) -> str:
        digits = re.sub(r"[ -]", "", text)
        if re.fullmatch(r"[0-9]{13,19}", digits) and _is_luhn(digits):
            raise ValueError("looks like a card number: give a token of it instead")
        if wanted.fullmatch(text) is None:
            raise ValueError("is not a card's token of 1 to 64 plain characters")
        return text

    return convert


def _is_luhn(digits: str) -> bool:
    doubled = (int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits)))
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0
