"""Which changes break their contract, and by which rule, pure. The rest flows.

A rule's name is `<column>.<fact>` or the name of the contract's check; a record that cannot be read
is named after its problem. A null result of a check passes, as it does in SQL. Deletes are judged
by their key alone, and columns that a change did not carry are not judged.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.contract import Column, Contract

PROBLEMS = {
    "wire_format": "not the wire format: a zero byte, a 4-byte schema id, then Avro",
    "unknown_schema": "the registry knows no schema with this id",
    "undecodable": "the bytes are not a record of their schema",
    "not_an_envelope": "the schema is not that of a captured change",
    "unknown_operation": "an operation other than create, update, read, delete and truncate",
    "wrong_source": "captured from another table than the contract's",
    "no_order": "no position in the log, so it cannot be put in order",
    "no_row": "an insert or update without the row",
    "no_key": "no primary key",
}


class TruncateRefused(RuntimeError):
    """A table with money was truncated at the source: a person must decide what that means."""


def judge(changes: DataFrame, contract: Contract) -> DataFrame:
    """Add `_reasons`: every rule that the change breaks, empty when it is valid."""
    known = ", ".join(f"'{name}', {_text(message)}" for name, message in PROBLEMS.items())
    problem = (
        f"array(named_struct('rule', _problem, 'message', element_at(map({known}), _problem)))"
    )
    rules = [rule for column in contract.columns for rule in _column_rules(column)]
    rules += [
        _rule(c.name, f"expected {c.expect}", f"({c.when}) and not coalesce({c.expect}, true)")
        for c in contract.checks
        if c.severity == "error"
    ]
    broken = f"filter(array({', '.join(rules)}), x -> x is not null)"
    nothing = "cast(array() as array<struct<rule:string,message:string>>)"
    return changes.withColumn(
        "_reasons",
        F.expr(
            f"case when _problem is not null then {problem}"
            f" when _op is null or _op in ('d', 't') then {nothing} else {broken} end"
        ),
    )


def split(judged: DataFrame) -> tuple[DataFrame, DataFrame]:
    """(valid, quarantined) of judged changes of rows; tombstones and truncates are in neither."""
    return (
        judged.where("size(_reasons) = 0 and _op is not null and _op <> 't'"),
        judged.where("size(_reasons) > 0"),
    )


def records(quarantined: DataFrame, contract: Contract) -> DataFrame:
    """What is kept of a quarantined change: its bytes, where it came from, and why."""
    return quarantined.selectExpr(
        f"'{contract.entity}' as entity",
        "_topic as topic",
        "_partition as partition",
        "_offset as offset",
        "_key as key",
        "_value as value",
        "_key_schema_id as key_schema_id",
        "_value_schema_id as value_schema_id",
        "_op as op",
        "_lsn as lsn",
        "_reasons as reasons",
        "_batch_id as batch_id",
        "_ingested_at as ingested_at",
        "current_timestamp() as quarantined_at",
    )


def _column_rules(column: Column) -> list[str]:
    name = column.name
    rules = [
        _rule(
            f"{name}.type",
            f"{name} is not of type {column.type}",
            f"array_contains(_wrong, '{name}')",
        ),
        _rule(
            f"{name}.dropped",
            f"{name} is no longer captured: it was dropped or renamed at the source",
            f"array_contains(_dropped, '{name}')",
        ),
    ]
    if column.required:
        absent = (
            f"`{name}` is null and not array_contains(_wrong, '{name}')"
            f" and not array_contains(_dropped, '{name}')"
        )
        rules.append(_rule(f"{name}.required", f"{name} is missing", _carried(name, absent)))
    if column.allowed:
        codes = ", ".join(f"'{code}'" for code in column.allowed)
        rules.append(
            _rule(
                f"{name}.code",
                f"{name} is not one of the list {column.codes}",
                f"`{name}` not in ({codes})",
            )
        )
    if column.minimum is not None:
        rules.append(
            _rule(
                f"{name}.minimum",
                f"{name} is below {column.minimum}",
                f"`{name}` < {column.minimum}",
            )
        )
    if column.pattern is not None:
        rules.append(
            _rule(
                f"{name}.pattern",
                f"{name} does not match {column.pattern}",
                f"not (`{name}` rlike {_text(column.pattern)})",
            )
        )
    return rules


def _carried(name: str, condition: str) -> str:
    return f"not array_contains(_unchanged, '{name}') and ({condition})"


def _rule(name: str, message: str, broken: str) -> str:
    return (
        f"case when {broken} then named_struct('rule', {_text(name)}, 'message', {_text(message)})"
        " end"
    )


def _text(value: str) -> str:
    """A Spark SQL string literal: backslashes and quotes escaped."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
