"""A JSON patch of a captured row, checked against its contract column by column. Pure.

Values come as JSON and leave as the text their type is written in, so that nothing is rounded on
the way. What only the whole row can tell (the contract's checks) is judged by the build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from schemas.contract import Column, Contract

Patch = Mapping[str, str | None]
SEALED = re.compile(r"enc:[0-9]+:")
LONG, INTEGER = 2**63, 2**31


class PatchRefused(ValueError):
    """The patch does not fit the contract; each line of the message is one thing to correct."""


def parse(text: str, contract: Contract) -> Patch:
    """The patch as column -> text. Raises PatchRefused with everything that is wrong with it."""
    try:
        # Amounts stay as they are written: no float on the way.
        given = json.loads(text, parse_float=Decimal, object_pairs_hook=_once)
    except ValueError as error:
        raise PatchRefused(f"not a JSON object: {error}") from None
    if not isinstance(given, dict) or not given:
        raise PatchRefused('a patch is a JSON object of columns, like {"status": "PAID"}')
    wrong: list[str] = []
    patch: dict[str, str | None] = {}
    for name, value in given.items():
        try:
            patch[name] = _checked(_column(name, contract), value, contract)
        except PatchRefused as error:
            wrong.append(str(error))
    if wrong:
        raise PatchRefused("\n".join(wrong))
    return patch


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))} is there twice")
    return dict(pairs)


def _column(name: str, contract: Contract) -> Column:
    names = [column.name for column in contract.columns]
    if name not in names:
        near = get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
        raise PatchRefused(f"{name}: {contract.entity} has no such column{hint}")
    if name in contract.key:
        raise PatchRefused(f"{name}: is the key; another key is another row, not this one fixed")
    return contract.column(name)


def _checked(column: Column, value: Any, contract: Contract) -> str | None:
    name = column.name
    if column.classification == "restricted":
        raise PatchRefused(f"{name}: is restricted; correct it where it came from")
    if value is None:
        if column.required:
            raise PatchRefused(f"{name}: is required, so it cannot be null")
        return None
    try:
        text = WRITERS[column.type](value, column)
    except (ValueError, TypeError, InvalidOperation) as error:
        said = f" ({error})" if type(error) is ValueError else ""
        raise PatchRefused(f"{name}: is not of type {column.type}{said}") from None
    if column.allowed and text not in column.allowed:
        raise PatchRefused(f"{name}: is not one of {', '.join(column.allowed)}")
    if column.minimum is not None and Decimal(text) < column.minimum:
        raise PatchRefused(f"{name}: is below {column.minimum}")
    if column.pattern is not None and not re.search(column.pattern, text):
        raise PatchRefused(f"{name}: does not match {column.pattern}")
    if column.classification == "pii" and not (column.pattern or SEALED.match(text)):
        raise PatchRefused(f"{name}: is personal and must be sealed; correct it at its source")
    return text


def _text(value: Any, column: Column) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is wanted")
    if "\0" in value:
        raise ValueError("no text has a NUL in it")
    return value


def _uuid(value: Any, column: Column) -> str:
    return str(UUID(_text(value, column)))


def _whole(most: int) -> Callable[[Any, Column], str]:
    def write(value: Any, column: Column) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("a whole number is wanted")
        if not -most <= value < most:
            raise ValueError("it is too large")
        return str(value)

    return write


def _decimal(value: Any, column: Column) -> str:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("a number is wanted")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("a number is wanted")
    exact = number.quantize(Decimal(1).scaleb(-column.scale)) if number else Decimal(0)
    if exact != number:
        raise ValueError(f"it has more than {column.scale} decimals")
    if len(exact.as_tuple().digits) > column.precision:
        raise ValueError("it is too large")
    return format(exact, "f")


def _date(value: Any, column: Column) -> str:
    return date.fromisoformat(_text(value, column)).isoformat()


def _timestamp(value: Any, column: Column) -> str:
    moment = datetime.fromisoformat(_text(value, column))
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, like 2026-01-02T03:04:05Z")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _boolean(value: Any, column: Column) -> str:
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return str(value).lower()


def _json(value: Any, column: Column) -> str:
    if isinstance(value, str):
        json.loads(value)
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


WRITERS: Mapping[str, Callable[[Any, Column], str]] = {
    "uuid": _uuid,
    "string": _text,
    "code": _text,
    "long": _whole(LONG),
    "integer": _whole(INTEGER),
    "decimal": _decimal,
    "date": _date,
    "timestamp": _timestamp,
    "boolean": _boolean,
    "json": _json,
}
