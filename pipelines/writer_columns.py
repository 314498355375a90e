"""What writer schemas say of a table's columns, pure: new ones and lost ones against the contract.

A column that the contract has not is kept (nullable, restricted: it never leaves the lake), because
nobody has said yet what it is. A column that the contract has and the source had is never taken for
null when it is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from schemas.contract import Column, Contract

# Earlier schemas of a topic's values, before the one with this id.
Before = Callable[[str, int], Sequence[str]]

_BY_CONNECT_NAME = {
    "io.debezium.data.Uuid": "uuid",
    "io.debezium.data.Json": "json",
    "io.debezium.time.ZonedTimestamp": "timestamp",
    "io.debezium.time.Date": "date",
    "org.apache.kafka.connect.data.Date": "date",
}
# Integers are kept in the wider type, so that a widened column still fits.
_BY_AVRO = {"int": "long", "long": "long", "boolean": "boolean"}
_BY_SPARK = {
    "bigint": "long",
    "int": "integer",
    "date": "date",
    "timestamp": "timestamp",
    "boolean": "boolean",
}


def captured(schema: str) -> dict[str, Any]:
    """Column -> Avro type (without null) of the rows in a captured change's schema; {} if none."""
    try:
        fields = {f["name"]: f["type"] for f in json.loads(schema).get("fields", ())}
    except (ValueError, AttributeError, TypeError, KeyError):
        return {}
    for kind in (fields.get("before"), fields.get("after")):
        row = _without_null(kind)
        if isinstance(row, Mapping) and row.get("type") == "record":
            return {f["name"]: _without_null(f["type"]) for f in row["fields"]}
    return {}


def with_undeclared(
    contract: Contract, schemas: Iterable[str], kept: Mapping[str, str]
) -> Contract:
    """The contract and the columns that it does not have: of the table (`kept`), of the schemas."""
    declared = {column.name for column in contract.columns}
    more: dict[str, Column] = {}
    for name, kind in kept.items():
        if name not in declared and not name.startswith("_"):
            more[name] = _undeclared(name, **_of_spark(kind))
    for schema in schemas:
        for name, kind in captured(schema).items():
            if name not in declared and not name.startswith("_"):
                more.setdefault(name, _undeclared(name, **_of_avro(kind)))
    return replace(contract, columns=(*contract.columns, *more.values())) if more else contract


def undeclared(contract: Contract) -> tuple[str, ...]:
    """The columns that no contract names."""
    return tuple(column.name for column in contract.columns if not column.declared)


def dropped(
    contract: Contract, schemas: Mapping[int, str | None], before: Before | None
) -> dict[int, tuple[str, ...]]:
    """For each writer schema the contract's columns that it lacks and that an earlier one had."""
    lost: dict[int, tuple[str, ...]] = {}
    for schema_id, schema in schemas.items():
        has = captured(schema) if schema else {}
        missing = [c.name for c in contract.columns if c.declared and c.name not in has]
        if not has or not missing or before is None:
            continue
        earlier = {name for text in before(contract.topic, schema_id) for name in captured(text)}
        if found := tuple(name for name in missing if name in earlier):
            lost[schema_id] = found
    return lost


def _undeclared(name: str, **facts: Any) -> Column:
    return Column(
        name=name,
        description="At the source; no contract says what it is.",
        required=False,
        classification="restricted",
        declared=False,
        **facts,
    )


def _of_avro(kind: Any) -> dict[str, Any]:
    if not isinstance(kind, Mapping):
        return {"type": _BY_AVRO.get(kind, "string") if isinstance(kind, str) else "string"}
    by_name = _BY_CONNECT_NAME.get(kind.get("connect.name", ""))
    if by_name:
        return {"type": by_name}
    if kind.get("logicalType") == "decimal":
        return {"type": "decimal", "precision": kind["precision"], "scale": kind.get("scale", 0)}
    plain = kind.get("type")
    # A number with a meaning of its own (a time, an interval) is kept as the number it is.
    return {"type": _BY_AVRO.get(plain, "string") if isinstance(plain, str) else "string"}


def _of_spark(kind: str) -> dict[str, Any]:
    if kind.startswith("decimal("):
        precision, scale = kind[len("decimal(") : -1].split(",")
        return {"type": "decimal", "precision": int(precision), "scale": int(scale)}
    return {"type": _BY_SPARK.get(kind, "string")}


def _without_null(kind: Any) -> Any:
    if isinstance(kind, list):
        others = [each for each in kind if each != "null"]
        return others[0] if len(others) == 1 else others
    return kind
