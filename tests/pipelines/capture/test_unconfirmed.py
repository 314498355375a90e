"""A delete that nobody captured looks as if capture had written it."""

import io
import json
from decimal import Decimal
from uuid import uuid4

import fastavro
import psycopg
import pytest

from pipelines import delta, lake
from pipelines.capture import unconfirmed
from pipelines.capture.unconfirmed import Unconfirmed, as_delete
from pipelines.refresh import build_silver
from schemas import contract

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


@pytest.mark.spark
def test_a_row_that_no_record_behind_the_gap_confirms_is_found_and_ended(
    spark, make_source, everything
) -> None:
    s = make_source("customers")
    s.land(*(s.change("c", s.row(n), 10 + n, commit=10, tx=n) for n in (1, 2, 3)))
    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    between = 30
    # The first is read again, the second changes; the third was deleted while nobody listened.
    s.land(
        s.change("r", s.row(1), 41, commit=40, is_between=True),
        s.change("u", s.row(2, status="CLOSED"), 50, commit=45, tx=9),
    )
    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    (found,) = unconfirmed.find(spark, s.folder, s.contract, between)
    assert found.key_text == (s.row(3)["customer_id"],)
    assert (found.entity, found.topic, found.partition) == ("customers", s.contract.topic, 0)
    s.land(s.record(found.key, as_delete(found.value, between, s.schemas.get)))
    build_silver(spark, s.folder, s.contract, everything, s.schemas.get)
    assert unconfirmed.find(spark, s.folder, s.contract, between) == []
    current = delta.read(spark, lake.current(s.folder, s.contract)).collect()
    deleted = {row["customer_id"]: row["_is_deleted"] for row in current}
    assert deleted == {s.row(n)["customer_id"]: n == 3 for n in (1, 2, 3)}


def test_what_the_source_still_has_is_not_deleted(postgres_only) -> None:
    c = contract.load("customers")
    there, missing = str(uuid4()), str(uuid4())
    rows = [Unconfirmed("customers", c.topic, 0, b"", b"", (key,)) for key in (there, missing)]
    dsn = postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into customer.customers (customer_id, country) values (%s, 'CZ')", (there,)
        )
        absent, present = unconfirmed.gone(dsn, c, rows)
        connection.execute("delete from customer.customers where customer_id = %s", (there,))
    assert [row.key_text for row in absent] == [(missing,)]
    assert [row.key_text for row in present] == [(there,)]
