"""What the schemas of writers say of columns, without Spark or a registry."""

import json
from typing import Any

import pytest

from pipelines import writer_columns
from schemas import contract as contracts

DOCUMENTS = contracts.load("documents")
NAMES = [c.name for c in DOCUMENTS.columns]
TEXT = {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}


def schema(columns: dict[str, Any]) -> str:
    fields = [{"name": n, "type": ["null", t], "default": None} for n, t in columns.items()]
    row = {"type": "record", "name": "Value", "fields": fields}
    return json.dumps(
        {
            "type": "record",
            "name": "Envelope",
            "fields": [
                {"name": "before", "type": ["null", row]},
                {"name": "after", "type": ["null", "Value"]},
                {"name": "op", "type": "string"},
            ],
        }
    )


WHOLE = schema(dict.fromkeys(NAMES, "string"))
WITHOUT_STATUS = schema({n: "string" for n in NAMES if n != "status"})


def test_the_captured_columns_are_those_of_the_row() -> None:
    assert list(writer_columns.captured(WHOLE)) == NAMES
    assert writer_columns.captured('"string"') == {}
    assert writer_columns.captured('{"type": "record", "name": "Key", "fields": []}') == {}


@pytest.mark.parametrize(
    ("avro", "kind"),
    [
        ("string", "string"),
        ("int", "long"),
        ("long", "long"),
        ("boolean", "boolean"),
        ("double", "string"),
        (TEXT, "timestamp"),
        ({"type": "int", "connect.name": "io.debezium.time.Date"}, "date"),
        ({"type": "array", "items": "string"}, "string"),
        (MONEY, "decimal"),
    ],
)
def test_a_column_without_a_contract_is_kept_as_what_it_is_and_restricted(avro, kind) -> None:
    known = writer_columns.with_undeclared(DOCUMENTS, [WHOLE, schema({"note": avro})], {})
    assert writer_columns.undeclared(known) == ("note",)
    column = known.column("note")
    assert (column.type, column.required, column.classification) == (kind, False, "restricted")


def test_the_type_that_a_table_has_already_is_kept() -> None:
    kept = {"status": "string", "note": "string", "rate": "decimal(9,4)", "_op": "string"}
    known = writer_columns.with_undeclared(DOCUMENTS, [schema({"note": "long"})], kept)
    assert writer_columns.undeclared(known) == ("note", "rate")
    assert known.column("note").type == "string"
    assert (known.column("rate").precision, known.column("rate").scale) == (9, 4)


def test_without_more_columns_the_contract_is_itself() -> None:
    assert writer_columns.with_undeclared(DOCUMENTS, [WHOLE], {}) is DOCUMENTS


def test_a_column_is_dropped_when_an_earlier_schema_had_it() -> None:
    schemas = {1: WHOLE, 2: WITHOUT_STATUS}
    before = {1: (), 2: (WHOLE,)}
    lost = writer_columns.dropped(DOCUMENTS, schemas, lambda _, i: before[i])
    assert lost == {2: ("status",)}


def test_a_column_that_no_earlier_schema_had_is_only_newer() -> None:
    asked = []

    def before(topic: str, schema_id: int) -> tuple[str, ...]:
        asked.append((topic, schema_id))
        return (WITHOUT_STATUS,)

    assert writer_columns.dropped(DOCUMENTS, {1: WITHOUT_STATUS, 2: WHOLE}, before) == {}
    # The registry is asked only where something is missing.
    assert asked == [("oltp.customer.documents", 1)]
