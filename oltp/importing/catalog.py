"""What the database says of a table: columns, keys, checks; and whether a mapping fits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from oltp.importing.errors import MappingError
from oltp.importing.mapping import Entries, Expression, Loans, Mapping_, Target

ENTRIES, CREDITS, PAYMENTS = "ledger.entries", "credit.active_credits", "credit.payments"
SUBJECT_KEYS = "customer.subject_keys"
# Written through `posting` and the loans, or by the keys' own way: never as plain rows.
NOT_PLAIN = {ENTRIES: "entries", "ledger.postings": "entries", SUBJECT_KEYS: "person"}
ACCEPTED: dict[str, tuple[type, ...]] = {
    "uuid": (UUID,), "text": (str,), "varchar": (str,), "bpchar": (str,),
    "int2": (int,), "int4": (int,), "int8": (int,), "numeric": (int, Decimal),
    "bool": (bool,), "date": (date,), "timestamptz": (date,), "jsonb": (dict, list, Jsonb),
}  # fmt: skip
BITS = {"int2": 15, "int4": 31, "int8": 63}


@dataclass(frozen=True)
class ColumnFact:
    """One column; `most` is the length of char(n) and varchar(n)."""

    name: str
    type: str
    is_required: bool
    has_default: bool
    may_insert: bool
    most: int | None


@dataclass
class TableFact:
    """One table. Constraints as (name, columns or expression)."""

    name: str
    may_read: bool
    columns: dict[str, ColumnFact] = field(default_factory=dict)
    primary: tuple[str, ...] = ()
    uniques: list[tuple[str, tuple[str, ...], str | None]] = field(default_factory=list)
    checks: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    parents: list[tuple[str, tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)

    def fault(self, column: str, value: Any) -> str | None:
        """What the column's type has against a value."""
        fact = self.columns[column]
        if value is None:
            return "has no value" if fact.is_required else None
        kinds = ACCEPTED.get(fact.type)
        kind = type(value)
        if (kinds and not isinstance(value, kinds)) or (kind is bool and fact.type != "bool"):
            return f"is not of the type {fact.type}"
        if kind is int and fact.type in BITS:
            limit = 1 << BITS[fact.type]
            return None if -limit <= value < limit else f"is more than fits {fact.type}"
        if fact.most and len(value) > fact.most:
            return f"is longer than {fact.most} characters"
        return None


def describe(connection: psycopg.Connection, table: str) -> TableFact | None:
    """The table as this connection sees it; None when there is none."""
    found = connection.execute(
        "select to_regclass(%s)::oid,"
        " coalesce(has_table_privilege(to_regclass(%s), 'select'), false)",
        (table, table),
    ).fetchone()
    if found is None or found[0] is None:
        return None
    oid, may_read = found
    fact = TableFact(table, may_read)
    for row in connection.execute(_COLUMNS, {"table": oid}):
        fact.columns[row[0]] = ColumnFact(*row)
    for kind, name, columns, text, parent, parent_columns in connection.execute(
        _CONSTRAINTS, {"table": oid}
    ):
        if kind == "p":
            fact.primary = tuple(columns)
        elif kind == "c":
            fact.checks.append((name, tuple(columns or ()), text))
        elif kind == "f":
            fact.parents.append((name, tuple(columns), parent, tuple(parent_columns)))
    for name, columns, predicate in connection.execute(_UNIQUES, {"table": oid}):
        fact.uniques.append((name, tuple(columns), predicate))
    return fact


def check(connection: psycopg.Connection, mapping: Mapping_) -> dict[str, TableFact]:
    """The tables that the mapping writes; MappingError when it does not fit them."""
    facts: dict[str, TableFact] = {}
    done: list[str] = []
    targets = {step.table for step in mapping.steps if isinstance(step, Target)}
    for step in mapping.steps:
        fail = _failing(mapping, step.line)
        names = _tables(step)
        for name in names:
            fact = facts.get(name) or describe(connection, name)
            if fact is None or "." not in name:
                fail(f"there is no table {name}")
            facts[name] = fact
            for _, _, parent, _ in fact.parents:
                if parent in targets and parent not in done and parent != name:
                    fail(f"{name} refers to {parent}: put {parent} before it")
            done.append(name)
        if isinstance(step, Target):
            _check_target(connection, mapping, step, facts[step.table])
        elif isinstance(step, Entries):
            _check_columns(connection, mapping, step.columns, facts[ENTRIES])
        else:
            _check_columns(connection, mapping, step.columns, facts[CREDITS])
    return facts


def _tables(step: Target | Entries | Loans) -> tuple[str, ...]:
    if isinstance(step, Target):
        return (step.table,)
    return (ENTRIES,) if isinstance(step, Entries) else (CREDITS, PAYMENTS, ENTRIES)


def _failing(mapping: Mapping_, line: int) -> Callable[[str], NoReturn]:
    def fail(problem: str) -> NoReturn:
        raise MappingError(f"{mapping.file}:{line}: {problem}")

    return fail


def _check_target(
    connection: psycopg.Connection, mapping: Mapping_, step: Target, fact: TableFact
) -> None:
    fail = _failing(mapping, step.line)
    if step.table in NOT_PLAIN:
        fail(f"{step.table} is written by `{NOT_PLAIN[step.table]}`, not as a table")
    if step.person and step.table != "customer.customers":
        fail("only customer.customers has a person")
    _check_columns(connection, mapping, step.columns, fact)
    if not fact.may_read:
        fail(f"{step.table} is not open to imports")
    given = set(step.columns) | (set(PERSON_COLUMNS) if step.person else set())
    for column in fact.columns.values():
        if column.is_required and not column.has_default and column.name not in given:
            fail(f"{step.table}.{column.name} needs a value")


def _check_columns(
    connection: psycopg.Connection,
    mapping: Mapping_,
    columns: dict[str, Expression] | Any,
    fact: TableFact,
) -> None:
    for name, made in columns.items():
        fail = _failing(mapping, made.line)
        column = fact.columns.get(name)
        if column is None:
            fail(f"{fact.name} has no column {name}; it has {', '.join(fact.columns)}")
        if not column.may_insert:
            fail(f"{fact.name}.{name} is not open to imports")
        for value in made.values or ():
            if value is None:
                continue
            if (problem := fact.fault(name, value)) is not None:
                fail(f"{fact.name}.{name}: {value!r} {problem}")
            for rule, of, text in fact.checks:
                if of == (name,) and not _passes(connection, text, column, value):
                    fail(f"{fact.name}.{name}: {value!r} breaks {text} [{rule}]")


def _passes(connection: psycopg.Connection, text: str, column: ColumnFact, value: Any) -> bool:
    """Whether the database's own check takes a constant."""
    if isinstance(value, dict | list):
        return True
    query = sql.SQL(
        "select ({check}) is not false from (select {value}::{type} as {name}) one"
    ).format(
        check=sql.SQL(text),
        value=sql.Literal(str(value)),
        type=sql.SQL(column.type),
        name=sql.Identifier(column.name),
    )
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


PERSON_COLUMNS = ("full_name", "email", "phone", "national_id", "birth_date", "email_masked",
                  "phone_masked", "birth_year", "email_index", "phone_index",
                  "national_id_index")  # fmt: skip
_COLUMNS = """
    select a.attname, coalesce(b.typname, t.typname), a.attnotnull,
        a.atthasdef or a.attidentity <> '', has_column_privilege(a.attrelid, a.attnum, 'insert')
            and a.attgenerated = '' and a.attidentity <> 'a',
        case when t.typname in ('bpchar', 'varchar') and a.atttypmod > 4 then a.atttypmod - 4 end
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_type b on b.oid = nullif(t.typbasetype, 0)
    where a.attrelid = %(table)s and a.attnum > 0 and not a.attisdropped
    order by a.attnum
"""
_CONSTRAINTS = """
    select c.contype::text, c.conname,
        (select array_agg(attname::text order by n) from unnest(c.conkey) with ordinality k (key, n)
            join pg_attribute on attrelid = c.conrelid and attnum = key),
        pg_get_expr(c.conbin, c.conrelid),
        (select n.nspname || '.' || p.relname from pg_class p
            join pg_namespace n on n.oid = p.relnamespace where p.oid = c.confrelid),
        (select array_agg(attname::text order by n) from unnest(c.confkey)
            with ordinality k (key, n) join pg_attribute on attrelid = c.confrelid
            and attnum = key)
    from pg_constraint c where c.conrelid = %(table)s and c.contype in ('p', 'c', 'f')
    order by c.conname
"""
_UNIQUES = """
    select i.indexrelid::regclass::text,
        (select array_agg(attname::text order by n) from unnest(i.indkey::int2[])
            with ordinality k (key, n) join pg_attribute on attrelid = i.indrelid
            and attnum = key),
        pg_get_expr(i.indpred, i.indrelid)
    from pg_index i
    where i.indrelid = %(table)s and i.indisunique and not i.indisprimary and i.indexprs is null
"""
