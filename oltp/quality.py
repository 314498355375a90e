"""Evaluates the quality rules and writes down what each one found.

    results = check(connection)

A rule is data (audit.quality_rules): a type, names that were checked against the catalog when it
was written, and a few values. RANGE, PATTERN and REFERENCE are about values that are there; in a
SUM a null is a difference. A rule that cannot be evaluated has not passed, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from oltp.privacy import mask

SAMPLES = 5
Broken = Callable[[dict[str, Any]], sql.Composable]


@dataclass
class Result:
    """What one rule found. `passed` is never unknown."""

    rule: str
    severity: str
    table: str
    passed: bool = False
    records: int = 0
    failed: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


def check(connection: psycopg.Connection, *, only: str | None = None) -> Iterator[Result]:
    """Evaluate the active rules, in order of name; yields and stores each one's result.

    `connection` is the owner's. Raises LookupError where `only` names no active rule.
    """
    run_id = uuid4()
    with connection.cursor(row_factory=dict_row) as cursor:
        rules = cursor.execute(
            "select * from audit.quality_rules where is_active and (%s::text is null or name = %s)"
            " order by name",
            (only, only),
        ).fetchall()
    if only and not rules:
        raise LookupError(f"there is no active quality rule {only}")
    for rule in rules:
        result = Result(
            rule["name"], rule["severity"], f"{rule['table_schema']}.{rule['table_name']}"
        )
        with connection.transaction():
            try:
                with connection.transaction():
                    _evaluate(connection, rule, result)
            except psycopg.Error as error:
                result.error = str(error).strip()
            result.passed = result.failed == 0 and result.error is None
            _store(connection, run_id, rule, result)
        yield result


def _evaluate(connection: psycopg.Connection, rule: dict[str, Any], result: Result) -> None:
    table = sql.Identifier(rule["table_schema"], rule["table_name"])
    broken = BROKEN[rule["rule_type"]](rule)
    # A condition that is null has not held.
    query = sql.SQL(
        "select count(*), count(*) filter (where coalesce({broken}, true)) from {table} t"
    ).format(broken=broken, table=table)
    counted = connection.execute(query).fetchone()
    result.records, result.failed = counted or (0, 0)
    if result.failed:
        result.samples = _samples(connection, rule, table, broken)


def _samples(
    connection: psycopg.Connection,
    rule: dict[str, Any],
    table: sql.Composable,
    broken: sql.Composable,
) -> list[dict[str, Any]]:
    """Keys of some failing rows, as they are; the value that failed, masked."""
    keys = [
        row[0]
        for row in connection.execute(
            "select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid"
            " and a.attnum = any (i.indkey) where i.indrelid = %s::regclass and i.indisprimary",
            (table.as_string(connection),),
        )
    ]
    found = connection.execute(
        sql.SQL(
            "select {keys}, t.{column}::text from {table} t where coalesce({broken}, true)"
            " order by {keys} limit {most}"
        ).format(
            keys=sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(key)) for key in keys),
            column=sql.Identifier(rule["column_name"]), table=table, broken=broken,
            most=sql.Literal(SAMPLES),
        )
    )  # fmt: skip
    return [
        {
            **{key: str(value) for key, value in zip(keys, row, strict=False)},
            "value": mask(rule["column_name"], row[-1]),
        }
        for row in found
    ]


def _column(rule: dict[str, Any]) -> sql.Composed:
    return sql.SQL("t.{}").format(sql.Identifier(rule["column_name"]))


def _absent(rule: dict[str, Any]) -> sql.Composable:
    return sql.SQL("{} is null").format(_column(rule))


def _out_of_range(rule: dict[str, Any]) -> sql.Composable:
    """Null is in no range and in none outside: NOT_NULL is the rule for that."""
    config = rule["rule_config"]
    outside = [
        sql.SQL(f"{{}} {sign} {{}}").format(_column(rule), sql.Literal(str(config[name])))
        for name, sign in (("min", "<"), ("max", ">"))
        if name in config
    ]
    return sql.SQL("({} is not null and ({}))").format(_column(rule), sql.SQL(" or ").join(outside))


def _other_pattern(rule: dict[str, Any]) -> sql.Composable:
    return sql.SQL("({column} is not null and {column}::text !~ {regex})").format(
        column=_column(rule), regex=sql.Literal(rule["rule_config"]["regex"])
    )


def _no_reference(rule: dict[str, Any]) -> sql.Composable:
    return sql.SQL("({} is not null and {})").format(_column(rule), _nowhere(rule))


def _other_sum(rule: dict[str, Any]) -> sql.Composable:
    """`is distinct from`, so that a missing total or part is a difference."""
    parts = sql.SQL(" + ").join(
        sql.SQL("t.{}").format(sql.Identifier(part)) for part in rule["rule_config"]["parts"]
    )
    return sql.SQL("({column} is null or {column} is distinct from {parts})").format(
        column=_column(rule), parts=parts
    )


def _missing_row(rule: dict[str, Any]) -> sql.Composable:
    where = sql.SQL(" and ").join(
        sql.SQL("t.{}::text = {}").format(sql.Identifier(name), sql.Literal(str(value)))
        for name, value in rule["rule_config"].get("where", {}).items()
    )
    wanted = sql.SQL("coalesce({}, false) and ").format(where) if where.as_string() else sql.SQL("")
    return sql.SQL("({}{})").format(wanted, _nowhere(rule))


def _nowhere(rule: dict[str, Any]) -> sql.Composed:
    schema, _, name = rule["rule_config"]["table"].partition(".")
    return sql.SQL("not exists (select from {} o where o.{} = {})").format(
        sql.Identifier(schema, name),
        sql.Identifier(rule["rule_config"]["column"]),
        _column(rule),
    )


BROKEN: dict[str, Broken] = {
    "NOT_NULL": _absent,
    "RANGE": _out_of_range,
    "PATTERN": _other_pattern,
    "REFERENCE": _no_reference,
    "SUM": _other_sum,
    "EXISTS": _missing_row,
}


def _store(
    connection: psycopg.Connection, run_id: object, rule: dict[str, Any], result: Result
) -> None:
    rate = None
    if result.error is None:
        rate = 100.0 if not result.records else 100.0 * (1 - result.failed / result.records)
    connection.execute(
        "insert into audit.quality_results (run_id, quality_rule_id, rule_version, passed,"
        " record_count, failed_count, success_rate, sample_failures, error)"
        " values (%s, %s, %s, %s, %s, %s, round(%s::numeric, 4), %s, %s)",
        (
            run_id, rule["quality_rule_id"], rule["rule_version"], result.passed,
            result.records, result.failed, rate, Jsonb(result.samples), result.error,
        ),
    )  # fmt: skip
