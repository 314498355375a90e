"""What a life writes: rows by table, parents first, and how they are encoded for COPY. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
NULL = "\\N"


class Rows:
    """Rows by table. A table's rows are all dicts with the same keys, or all tuples.

    Tuples are for the tables with millions of rows; their columns are in `tables.COLUMNS`.
    """

    def __init__(self) -> None:
        self.by_table: dict[str, list[Any]] = defaultdict(list)

    def add(self, table: str, **columns: Any) -> Row:
        """One more row; gives it back, so that what happens later may still change it."""
        self.by_table[table].append(columns)
        return columns

    def count(self) -> int:
        """All rows."""
        return sum(map(len, self.by_table.values()))


def columns_of(rows: Sequence[Any], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of a table's rows."""
    return tuple(rows[0]) if isinstance(rows[0], dict) else tuple(known)


def encode(rows: Iterable[Any]) -> bytes:
    """The rows in the text format of COPY."""
    text = _TEXT
    lines = (
        "\t".join([text[type(v)](v) for v in (row.values() if type(row) is dict else row)])
        for row in rows
    )
    return ("\n".join(lines) + "\n").encode()


def _escaped(value: str) -> str:
    # What is made here has none of these, except free text of a customer's name.
    if value.isprintable() and "\\" not in value:
        return value
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    )


_TEXT: dict[type, Callable[[Any], str]] = {
    int: str,
    str: _escaped,
    type(None): lambda _: NULL,
    bool: lambda value: "t" if value else "f",
    Decimal: str,
    date: date.isoformat,
    bytes: lambda value: "\\\\x" + value.hex(),
    dict: lambda value: _escaped(json.dumps(value, ensure_ascii=False)),
    list: lambda value: _escaped(json.dumps(value, ensure_ascii=False)),
}
