"""A mapping as it was written: sources with their columns, codes, and what becomes of a row.

Frozen data; `parsing` makes it from YAML and `catalog` checks it against the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from oltp.importing.converters import Convert

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a source. `of` names the source whose key it must be."""

    type: str
    convert: Convert
    is_required: bool
    is_optional: bool
    default: Any
    is_personal: bool
    of: str | None


@dataclass(frozen=True)
class Join:
    """The row of another source whose column `column` has this row's `on`; there must be one."""

    source: str
    on: str
    column: str
    where: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Source:
    """One kind of file."""

    name: str
    pattern: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    joins: Mapping[str, Join]
    personal: frozenset[str]
    has_header: bool
    delimiter: str
    encoding: str
    quote: str
    nulls: tuple[str, ...]
    is_optional: bool
    ignores_others: bool


@dataclass
class World:
    """The rows that were read: by source and key, and by source and join."""

    by_key: dict[str, dict[Any, Row]]
    joined: dict[tuple[str, str], dict[Any, Row]]


Evaluate = Callable[[Row, World], Any]


@dataclass(frozen=True)
class Expression:
    """Gives a value for a row. `codes` are all it can give, where that is known."""

    evaluate: Evaluate
    columns: frozenset[str]
    line: int
    values: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Person:
    """Personal values of a row, sealed under a key derived from `customer_id`."""

    customer_id: Expression
    fields: Mapping[str, Expression]


@dataclass(frozen=True)
class Target:
    """Rows of one table. `conditions` are columns and the values of which each has one."""

    table: str
    source: str
    columns: Mapping[str, Expression]
    conditions: Mapping[str, tuple[Any, ...]]
    exceptions: Mapping[str, tuple[Any, ...]]
    is_distinct: bool
    person: Person | None
    line: int


@dataclass(frozen=True)
class Entries:
    """Ledger entries of two postings: what moves from the credited to the debited account."""

    source: str
    columns: Mapping[str, Expression]
    debit: Expression
    credit: Expression
    amount: Expression
    currency: Expression
    conditions: Mapping[str, tuple[Any, ...]]
    exceptions: Mapping[str, tuple[Any, ...]]
    line: int


@dataclass(frozen=True)
class Loans:
    """Credits with their schedules, and what is seen to have been paid on them (`loans`)."""

    source: str
    columns: Mapping[str, Expression]
    principal: str
    term: str
    payment: str
    start: str
    currency: str
    finished: str
    status: Expression
    payments: str
    payments_on: str
    payments_amount: str
    payments_day: str
    payments_where: Mapping[str, tuple[Any, ...]]
    namespace: UUID
    line: int


Step = Target | Entries | Loans


@dataclass(frozen=True)
class Mapping_:
    """The whole mapping; `text` are its bytes."""

    name: str
    title: str
    file: str
    namespace: UUID
    sources: Mapping[str, Source]
    steps: tuple[Step, ...]
    text: bytes


def holds(conditions: Mapping[str, tuple[Any, ...]], row: Row) -> bool:
    """Whether each of the columns has one of its values."""
    return all(row[column] in allowed for column, allowed in conditions.items())
