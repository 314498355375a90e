"""Reads the bank's files row by row; what cannot be read is reported with file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Rejection:
    """A row that was left out, and why."""

    file: str
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.reason}"


@dataclass(frozen=True)
class Source:
    """One file: its columns in order, each with the function that reads it."""

    file: str
    columns: dict[str, Callable[[str], Any]]


class FileError(ValueError):
    """A file that cannot be used at all; the message says which and why."""


def read(folder: Path, source: Source) -> tuple[list[Row], list[Rejection]]:
    """The file's rows, each with its `line`, and the rows that were rejected."""
    path = folder / source.file
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    header = _fields(lines[0]) if lines else []
    if header != list(source.columns):
        raise FileError(f"{path}:1: expected the columns {', '.join(source.columns)}")
    rows, rejections = [], []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        found = _row(source, number, line)
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            rows.append(found)
    return rows, rejections


def _row(source: Source, number: int, line: str) -> Row | Rejection:
    # Line by line: a quote that is never closed must not swallow the rest of the file.
    fields = _fields(line)
    names = list(source.columns)
    if len(fields) != len(names):
        column = names[min(len(fields), len(names)) - 1]
        reason = f"the row has {len(fields)} of {len(names)} columns: {line[-40:]!r}"
        return Rejection(source.file, number, column, reason)
    row: Row = {"line": number}
    for (name, convert), text in zip(source.columns.items(), fields, strict=True):
        try:
            row[name] = convert(text)
        except ValueError as error:
            return Rejection(source.file, number, name, f"{text!r} {error}")
    return row


def _fields(line: str) -> list[str]:
    return next(csv.reader([line], delimiter=";"))


def whole(text: str) -> int:
    """A non-negative whole number."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError("is not a whole number")
    return int(text)


def minor(text: str) -> int:
    """An amount in crowns with at most two decimals, as hellers; never through a float."""
    crowns, point, hellers = text.partition(".")
    if not (crowns.isascii() and crowns.isdigit()) or len(hellers) > 2:
        raise ValueError("is not an amount with at most two decimals")
    if point and not (hellers.isascii() and hellers.isdigit()):
        raise ValueError("is not an amount with at most two decimals")
    return int(crowns) * 100 + int(hellers.ljust(2, "0"))


def amount(text: str) -> int:
    """An amount above zero."""
    value = minor(text)
    if value == 0:
        raise ValueError("is not above zero")
    return value


def balance(text: str) -> int:
    """An amount that may be below zero."""
    return -minor(text[1:]) if text.startswith("-") else minor(text)


def day(text: str) -> date:
    """YYMMDD of the twentieth century; a time after it is midnight and left out."""
    digits = text.removesuffix(" 00:00:00")
    if len(digits) != 6 or not digits.isdigit():
        raise ValueError("is not a day written YYMMDD")
    try:
        return date(1900 + int(digits[:2]), int(digits[2:4]), int(digits[4:]))
    except ValueError:
        raise ValueError("is not a day of the calendar") from None


def birth(text: str) -> date:
    """The day in a birth number YYMMDD; women's have 50 added to the month."""
    if len(text) == 6 and text.isdigit() and int(text[2:4]) > 50:
        text = f"{text[:2]}{int(text[2:4]) - 50:02}{text[4:]}"
    return day(text)


def one_of(*allowed: str) -> Callable[[str], str]:
    """One of the codes the bank is known to use."""

    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is none of {', '.join(map(repr, allowed))}")
        return text

    return convert


ACCOUNTS = Source(
    "account.asc", {"account_id": whole, "district_id": whole, "frequency": str, "date": day}
)
CLIENTS = Source("client.asc", {"client_id": whole, "birth_number": birth, "district_id": whole})
DISPOSITIONS = Source(
    "disp.asc",
    {
        "disp_id": whole,
        "client_id": whole,
        "account_id": whole,
        "type": one_of("OWNER", "DISPONENT"),
    },
)
CARDS = Source(
    "card.asc",
    {
        "card_id": whole,
        "disp_id": whole,
        "type": one_of("classic", "junior", "gold"),
        "issued": day,
    },
)
LOANS = Source(
    "loan.asc",
    {
        "loan_id": whole,
        "account_id": whole,
        "date": day,
        "amount": amount,
        "duration": whole,
        "payments": amount,
        "status": one_of("A", "B", "C", "D"),
    },
)
TRANSACTIONS = Source(
    "trans.asc",
    {
        "trans_id": whole,
        "account_id": whole,
        "date": day,
        # VYBER is an operation; 651 rows carry it as the type, and are debits.
        "type": one_of("PRIJEM", "VYDAJ", "VYBER"),
        "operation": one_of(
            "", "VKLAD", "PREVOD Z UCTU", "VYBER", "PREVOD NA UCET", "VYBER KARTOU"
        ),
        "amount": amount,
        "balance": balance,
        "k_symbol": str.strip,
        "bank": str,
        "account": str,
    },
)
