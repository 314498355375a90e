"""Which source columns a column is made of: declared by contracts, read from SQL for dbt models.

Pure. An edge is (dataset, column); a mapping goes from an output column to the edges it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node
from sqlglot.lineage import lineage as trace

from schemas.contract import Contract

T = TypeVar("T")
# "schema.table" -> its columns in order
Tables = Mapping[str, Iterable[str]]
# output column -> ("schema.table", column), ordered
Sources = dict[str, tuple[tuple[str, str], ...]]


def declared(contract: Contract, source: T) -> dict[str, tuple[tuple[T, str], ...]]:
    """Every contract column comes from the column of the same name in `source`."""
    return {column.name: ((source, column.name),) for column in contract.columns}


def of_query(sql: str, tables: Tables) -> Sources:
    """The source columns of each output column of a Postgres query; {} when it cannot be parsed.

    A column that is made of no column (a literal, a count) maps to nothing.
    """
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for name, columns in tables.items():
        namespace, table = name.split(".", 1)
        schema.setdefault(namespace, {})[table] = dict.fromkeys(columns, "text")
    try:
        query = _without_database(sqlglot.parse_one(sql, dialect="postgres"))
        nodes = trace(None, query, schema, dialect="postgres", copy=False, trim_selects=False)
    except (SqlglotError, ValueError, RecursionError):
        return {}
    return {column: _leaves(node) for column, node in nodes.items()}


def _without_database(query: exp.Expr) -> exp.Expr:
    """dbt writes database.schema.table; a Postgres connection sees one database only."""
    for table in query.find_all(exp.Table):
        table.set("catalog", None)
    return query


def _leaves(node: Node) -> tuple[tuple[str, str], ...]:
    """The table columns at the end of the walk, each once, in a stable order."""
    found: set[tuple[str, str]] = set()
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        waiting.extend(at.downstream)
        if not at.downstream and isinstance(at.expression, exp.Table):
            table = f"{at.expression.db}.{at.expression.name}"
            found.add((table, at.name.rsplit(".", 1)[-1].strip('"')))
    return tuple(sorted(found))
