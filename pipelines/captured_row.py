"""A captured row as people may see it: sealed and restricted values are not shown. Pure."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import fastavro

from schemas.contract import Column, Contract

UNCHANGED = "__debezium_unavailable_value"
EPOCH = date(1970, 1, 1)
WIRE_HEADER_BYTES = 5


def decoded(value: bytes, schema: str) -> Mapping[str, Any]:
    """The envelope in a record. Raises ValueError when the bytes are none."""
    try:
        parsed = fastavro.parse_schema(json.loads(schema))
        read = fastavro.schemaless_reader(io.BytesIO(value[WIRE_HEADER_BYTES:]), parsed, None)
    except Exception as error:  # the decoder raises whatever the bytes made it stumble on
        raise ValueError(f"the bytes are not a record of their schema ({error!r})") from error
    if not isinstance(read, dict):
        raise ValueError("the record is no envelope")
    return read


def shown(row: Mapping[str, Any], contract: Contract) -> dict[str, str]:
    """Each column of the row in words."""
    columns = {column.name: column for column in contract.columns}
    return {name: in_words(value, columns.get(name)) for name, value in row.items()}


def in_words(value: Any, column: Column | None) -> str:
    """One value; of a column that is not public only whether there is one."""
    if value is None:
        return "null"
    if value == UNCHANGED:
        return "(unchanged)"
    if column is None:
        return "(in no contract)"
    if column.classification != "internal":
        return f"({column.classification})"
    if column.type == "date" and isinstance(value, int):
        return (EPOCH + timedelta(days=value)).isoformat()
    return str(value)
