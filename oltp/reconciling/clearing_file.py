"""Reads a clearing file: a header, column names, lines, and a trailer for each currency. Pure.

    HEADER,1,VISA,V-2026-11-30-1,2026-11-30
    kind,network_ref,original_key,card_id,account_id,amount_minor,currency,...
    CLEARING,R-1,T-1,,,1250,CZK,...
    TRAILER,CZK,1,1250,0

A file that is not whole, or not what it says it is, is refused with the place and what to do. A
line that cannot be read is kept with its reason; the others are not held up by it.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from schemas import codes
from schemas.codes_card import ClearingLineKind, Network

VERSION = "1"
LINES_MOST = 1_000_000
AMOUNT_MOST_MINOR = 10**15
TEXT_MOST = 200
COLUMNS = frozenset({
    "kind", "network_ref", "original_key", "card_id", "account_id", "amount_minor", "currency",
    "sequence_number", "is_final", "merchant_id", "mcc", "merchant_country", "reason",
    "occurred_at",
})  # fmt: skip
NEEDED = frozenset({"kind", "network_ref", "amount_minor", "currency", "occurred_at"})
# What is about an earlier authorization or presentment has to say which.
ABOUT_SOMETHING = frozenset({"CLEARING", "CHARGEBACK", "REPRESENTMENT"})
CREDITS = frozenset({"REFUND", "CHARGEBACK"})


class ClearingFileError(ValueError):
    """A file that is not loaded at all; the message says where and what to do."""


class LineError(ValueError):
    """A line that cannot be read; the message names the column."""


@dataclass(frozen=True)
class Line:
    """A line as it came: either a message to apply, or the problem of it."""

    number: int
    raw: str
    message: dict[str, Any] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Total:
    """What a trailer says of one currency."""

    currency: str
    lines: int
    debit_minor: int
    credit_minor: int


@dataclass(frozen=True)
class ClearingFile:
    """A whole file."""

    sha256: str
    network: str
    file_ref: str
    business_date: date
    lines: tuple[Line, ...]
    totals: tuple[Total, ...]

    @property
    def unreadable(self) -> tuple[Line, ...]:
        """The lines that have a problem."""
        return tuple(line for line in self.lines if line.problem)


def parse(content: bytes) -> ClearingFile:
    """The file of these bytes; raises ClearingFileError when it is refused as a whole."""
    rows = _rows(content)
    network, file_ref, business_date = _header(rows)
    names = _names(rows)
    trailers = [i for i, row in enumerate(rows) if _first(row) == "TRAILER"]
    if not trailers:
        raise ClearingFileError(
            f"line {rows[-1][0]}: no TRAILER: the file was cut off; ask the network for it again"
        )
    body, tail = rows[2 : trailers[0]], rows[trailers[0] :]
    totals = tuple(_total(row) for row in tail)
    if len({total.currency for total in totals}) != len(totals):
        raise ClearingFileError(f"line {tail[0][0]}: two TRAILERs of one currency")
    promised = sum(total.lines for total in totals)
    if promised != len(body):
        raise ClearingFileError(
            f"the trailers say {promised} lines, the file has {len(body)}: it is not whole;"
            " ask the network for it again"
        )
    lines = tuple(_lines(body, names, network))
    return ClearingFile(
        hashlib.sha256(content).hexdigest(), network, file_ref, business_date, lines, totals
    )


Row = tuple[int, str]


def _rows(content: bytes) -> list[Row]:
    """Number and text of each line that is not empty."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClearingFileError(f"byte {error.start}: not UTF-8; send it as UTF-8") from None
    rows = [(n, row) for n, row in enumerate(text.replace("\r\n", "\n").split("\n"), 1) if row]
    if len(rows) < 2:
        raise ClearingFileError("line 1: the file is empty: it needs HEADER, columns and TRAILER")
    if len(rows) > LINES_MOST:
        raise ClearingFileError(f"{len(rows)} lines are more than {LINES_MOST}: split the file")
    return rows


def _header(rows: list[Row]) -> tuple[str, str, date]:
    number, raw = rows[0]
    fields = raw.split(",")
    if len(fields) != 5 or fields[0] != "HEADER":
        raise ClearingFileError(
            f"line {number}: expected HEADER,{VERSION},<network>,<file>,<business date>"
        )
    _, version, network, file_ref, day = (field.strip() for field in fields)
    if version != VERSION:
        raise ClearingFileError(f"line {number}: version {version!r} is not {VERSION!r}")
    if network not in list(Network):
        raise ClearingFileError(
            f"line {number}: network {network!r} is none of {', '.join(Network)}"
        )
    if not 0 < len(file_ref) <= TEXT_MOST:
        raise ClearingFileError(f"line {number}: the file has no name of its own")
    try:
        return network, file_ref, date.fromisoformat(day)
    except ValueError:
        raise ClearingFileError(
            f"line {number}: business date {day!r} is no day as YYYY-MM-DD"
        ) from None


def _names(rows: list[Row]) -> list[str]:
    number, raw = rows[1]
    names = raw.split(",")
    missing, unknown = NEEDED - set(names), set(names) - COLUMNS
    if missing or unknown or len(set(names)) != len(names):
        said = ", ".join(sorted(missing or unknown)) or "one twice"
        kind = "missing" if missing else "unknown" if unknown else "named"
        raise ClearingFileError(f"line {number}: columns {kind}: {said}")
    return names


def _total(row: Row) -> Total:
    number, raw = row
    fields = raw.split(",")
    try:
        word, currency, *numbers = fields
        lines, debit, credit = (_whole(figure, 0) for figure in numbers)
        if word != "TRAILER" or currency not in codes.EXPONENT:
            raise ValueError
    except ValueError:
        raise ClearingFileError(
            f"line {number}: expected TRAILER,<currency>,<lines>,<debits>,<credits> and nothing"
            " after the trailers"
        ) from None
    return Total(currency, lines, debit, credit)


def _lines(body: list[Row], names: list[str], network: str) -> Iterator[Line]:
    seen: dict[str, int] = {}
    for number, raw in body:
        try:
            message = _message(raw, names, network)
            first = seen.setdefault(message["network_ref"], number)
            if first != number:
                raise LineError(f"network_ref: the same as on line {first}")
        except LineError as error:
            yield Line(number, raw.replace("\0", "\ufffd"), problem=str(error))
        else:
            yield Line(number, raw, message)


def _message(raw: str, names: list[str], network: str) -> dict[str, Any]:
    """The card message of a line, under a key that any file with the line would give it."""
    if "\0" in raw:
        raise LineError("it has a NUL character")
    try:
        (fields,) = csv.reader([raw], strict=True)
    except (csv.Error, ValueError) as error:
        raise LineError(f"no CSV: {error}") from None
    if len(fields) != len(names):
        raise LineError(f"{len(fields)} fields where the file has {len(names)} columns")
    said = {n: field.strip() for n, field in zip(names, fields, strict=True) if field.strip()}
    for name in sorted(NEEDED - set(said)):
        raise LineError(f"{name}: missing")
    asked = {name: _read(name, text) for name, text in said.items()}
    kind = asked.pop("kind")
    if kind in ABOUT_SOMETHING and "original_key" not in asked:
        raise LineError(f"original_key: a {kind} says what it is about")
    if kind not in ABOUT_SOMETHING and not asked.keys() & {"original_key", "card_id", "account_id"}:
        raise LineError("card_id: neither original_key nor card_id nor account_id says whose it is")
    asked |= {"message_kind": kind, "network": network}
    text = json.dumps(asked, sort_keys=True)
    return {
        **asked,
        "message_key": f"{network}:{asked['network_ref']}",
        "request_hash": hashlib.sha256(text.encode()).hexdigest(),
    }


def _read(name: str, text: str) -> Any:
    """A field's value; LineError when it is none."""
    try:
        return _READERS.get(name, _text)(text)
    except ValueError as error:
        reason = str(error) if isinstance(error, LineError) else f"{text[:40]!r} is not one"
        raise LineError(f"{name}: {reason}") from None


def _text(text: str) -> str:
    if len(text) > TEXT_MOST:
        raise LineError(f"longer than {TEXT_MOST} characters")
    return text


def _whole(text: str, least: int = 1) -> int:
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= AMOUNT_MOST_MINOR:
        raise LineError(f"{text[:40]!r} is no whole number from {least} to {AMOUNT_MOST_MINOR}")
    return int(text)


def _sequence(text: str) -> int:
    if _whole(text) > 9_999:
        raise LineError(f"{text} is more than 9999")
    return int(text)


def _currency(text: str) -> str:
    if text not in codes.EXPONENT:
        raise LineError(f"{text[:40]!r} is none of {', '.join(codes.EXPONENT)}")
    return text


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise LineError(f"{text[:40]!r} is neither true nor false")
    return text == "true"


def _moment(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise LineError(f"{text!r} has no time zone")
    return moment.isoformat()


def _mcc(text: str) -> str:
    if len(text) != 4 or not (text.isascii() and text.isdecimal()):
        raise LineError(f"{text[:40]!r} is not four digits")
    return text


def _country(text: str) -> str:
    if len(text) != 2 or not (text.isascii() and text.isalpha() and text.isupper()):
        raise LineError(f"{text[:40]!r} is not two capital letters")
    return text


def _first(row: Row) -> str:
    return row[1].partition(",")[0]


_READERS: dict[str, Callable[[str], Any]] = {
    "kind": lambda text: ClearingLineKind(text).value,
    "card_id": lambda text: str(UUID(text)),
    "account_id": lambda text: str(UUID(text)),
    "amount_minor": _whole,
    "currency": _currency,
    "sequence_number": _sequence,
    "is_final": _flag,
    "mcc": _mcc,
    "merchant_country": _country,
    "occurred_at": _moment,
}
