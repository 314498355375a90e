"""A delete that nobody captured looks as if capture had written it."""

import io
import json
from decimal import Decimal

import fastavro
import pytest

from pipelines.capture.unconfirmed import as_delete

ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "offer_id", "type": "string"},
        {
            "name": "apr",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 6},
        },
        {"name": "note", "type": ["null", "string"]},
    ],
}
SOURCE = {
    "type": "record",
    "name": "Source",
    "fields": [
        {"name": "ts_ms", "type": "long"},
        {"name": "ts_us", "type": ["null", "long"]},
        {"name": "snapshot", "type": ["null", "string"]},
        {"name": "sequence", "type": ["null", "string"]},
        {"name": "schema", "type": "string"},
        {"name": "table", "type": "string"},
        {"name": "txId", "type": ["null", "long"]},
        {"name": "lsn", "type": ["null", "long"]},
    ],
}
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "before", "type": ["null", ROW]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": SOURCE},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"]},
    ],
}
CREATED = {
    "before": None,
    "after": {"offer_id": "o", "apr": Decimal("7.125000"), "note": None},
    "source": {
        "ts_ms": 1, "ts_us": 1000, "snapshot": "false", "sequence": '["5","6"]',
        "schema": "credit", "table": "offers", "txId": 9, "lsn": 6,
    },
    "op": "c",
    "ts_ms": 2,
}  # fmt: skip


def encoded(envelope: dict) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(ENVELOPE), envelope)
    return b"\0" + (77).to_bytes(4, "big") + out.getvalue()


def decoded(value: bytes) -> dict:
    schema = fastavro.parse_schema(ENVELOPE)
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)


def test_the_rows_last_record_becomes_its_delete_inside_the_gap() -> None:
    value = as_delete(encoded(CREATED), 1234, {77: json.dumps(ENVELOPE)}.get)
    assert value[:5] == b"\0" + (77).to_bytes(4, "big")
    deleted = decoded(value)
    assert (deleted["op"], deleted["after"]) == ("d", None)
    assert deleted["before"] == CREATED["after"]
    source = deleted["source"]
    # After everything before the gap, before everything behind it, in nobody's transaction.
    assert (source["lsn"], source["sequence"], source["txId"]) == (1234, '["1234","1234"]', None)
    assert (source["schema"], source["table"], source["snapshot"]) == ("credit", "offers", "false")
    assert source["ts_us"] > 1_700_000_000_000_000


def test_a_schema_that_the_registry_has_lost_stops_it() -> None:
    with pytest.raises(RuntimeError, match="no longer knows the schema"):
        as_delete(encoded(CREATED), 1234, lambda number: None)
