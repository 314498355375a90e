"""Captured records made by hand: real Avro in the wire format, one writer schema a shape."""

import io
import json
import struct
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from pipelines import bronze, delta, lake
from pipelines.visibility import Cut
from schemas import contract as contracts
from schemas.contract import Contract

AVRO_TYPES: dict[str, Any] = {
    "uuid": {"type": "string", "connect.name": "io.debezium.data.Uuid"},
    "string": "string",
    "code": "string",
    "long": "long",
    "integer": "int",
    "date": {"type": "int", "connect.name": "io.debezium.time.Date"},
    "timestamp": {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"},
    "boolean": "boolean",
    "json": {"type": "string", "connect.name": "io.debezium.data.Json"},
}
SOURCE_FIELDS = {
    "version": "string",
    "connector": "string",
    "name": "string",
    "ts_ms": "long",
    "snapshot": ["null", "string"],
    "db": "string",
    "sequence": ["null", "string"],
    "schema": "string",
    "table": "string",
    "txId": ["null", "long"],
    "lsn": ["null", "long"],
    "xmin": ["null", "long"],
}
UNSEEN = object()


@dataclass
class Source:
    """A captured table: makes records, and bronze out of records. `schemas` is its registry."""

    spark: Any
    folder: Path
    contract: Contract
    schemas: dict[int, str] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    offset: int = 0
    batch: int = 0

    def __post_init__(self) -> None:
        self.value_id = self.register(self.value_schema())
        self.key_id = self.register(self.key_schema())

    def register(self, schema: dict[str, Any]) -> int:
        self.schemas[len(self.schemas) + 1] = json.dumps(schema)
        return len(self.schemas)

    def value_schema(self, change: dict[str, Any] | None = None, drop: tuple[str, ...] = ()) -> Any:
        """The envelope; `change` replaces Avro types of columns, `drop` leaves columns out."""
        row = {
            "type": "record",
            "name": "Value",
            "fields": [
                {
                    "name": c.name,
                    "type": ["null", (change or {}).get(c.name, _avro(c))],
                    "default": None,
                }
                for c in self.contract.columns
                if c.name not in drop
            ],
        }
        fields = [{"name": n, "type": t} for n, t in SOURCE_FIELDS.items()]
        source = {"type": "record", "name": "Source", "fields": fields}
        return {
            "type": "record",
            "name": "Envelope",
            "namespace": f"oltp.{self.contract.source}",
            "fields": [
                {"name": "before", "type": ["null", row], "default": None},
                {"name": "after", "type": ["null", "Value"], "default": None},
                {"name": "source", "type": source},
                {"name": "op", "type": "string"},
                {"name": "ts_ms", "type": ["null", "long"]},
            ],
        }

    def key_schema(self) -> Any:
        return {
            "type": "record",
            "name": "Key",
            "namespace": f"oltp.{self.contract.source}",
            "fields": [
                {"name": n, "type": _avro(self.contract.column(n))} for n in self.contract.key
            ],
        }

    def change(
        self,
        op: str,
        row: dict[str, Any] | None,
        lsn: int,
        commit: int | None = None,
        tx: int = 100,
        ts_ms: int | None = None,
        schema_id: int | None = None,
        is_between: bool = False,
        **source: Any,
    ) -> dict[str, Any]:
        """One captured record. `row` of a delete needs only the key.

        `is_between`: a row of a snapshot taken while changes stream has its place in the sequence.
        """
        schema_id = schema_id or self.value_id
        schema, table = self.contract.source.split(".")
        sequence = json.dumps([None if commit is None else str(commit), str(lsn)])
        envelope = {
            "before": None,
            "after": None if op in "dt" else row,
            "op": op,
            "ts_ms": 0,
            "source": {
                "version": "3.7.0.Final",
                "connector": "postgresql",
                "name": "oltp",
                "db": "oltp",
                "ts_ms": 1_700_000_000_000 + lsn if ts_ms is None else ts_ms,
                "snapshot": "true" if op == "r" else "false",
                "sequence": None if op == "r" and not is_between else sequence,
                "schema": schema,
                "table": table,
                "txId": None if is_between else tx,
                "lsn": None if is_between else lsn,
                "xmin": None,
                **source,
            },
        }
        key = None
        if row is not None:
            key = {n: row[n] for n in self.contract.key}
        value = wire(schema_id, self.schemas[schema_id], envelope)
        return self.record(self.key(key) if key else None, value)

    def key(self, key: dict[str, Any]) -> bytes:
        return wire(self.key_id, self.schemas[self.key_id], key)

    def record(self, key: bytes | None, value: bytes | None) -> dict[str, Any]:
        self.offset += 1
        return {
            "topic": self.contract.topic,
            "partition": 0,
            "offset": self.offset,
            "key": key,
            "value": value,
        }

    def land(self, *records: dict[str, Any]) -> None:
        """Append the records to bronze as one batch, as the query does."""
        checkpoint = lake.bronze_checkpoint(self.folder)
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "metadata").write_text('{"id": "test"}')
        ddl = "topic string, partition int, offset long, key binary, value binary"
        rows = self.spark.createDataFrame(
            [
                tuple(r[n] for n in ("topic", "partition", "offset", "key", "value"))
                for r in records
            ],
            ddl,
        ).selectExpr(
            "*",
            "current_timestamp() as timestamp",
            "cast(null as array<struct<key:string,value:binary>>) as headers",
        )
        mark = delta.Mark(bronze.source(self.folder), self.batch)
        delta.append(
            bronze.shaped(rows, self.batch).coalesce(1),
            lake.bronze(self.folder),
            mark,
            partition_by=("entity",),
            statistics=bronze.STATISTICS,
        )
        self.batch += 1

    def row(self, key: int = 1, **values: Any) -> dict[str, Any]:
        """A row that keeps the contract, apart from `values`."""
        own = {n: _key_value(self.contract.column(n), key) for n in self.contract.key}
        row = {c.name: _valid(c, key) for c in self.contract.columns}
        return row | _TOGETHER.get(self.contract.entity, {}) | own | values


def wire(schema_id: int, schema: str, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema)), record)
    return b"\0" + struct.pack(">I", schema_id) + out.getvalue()


def _avro(column: Any) -> Any:
    if column.type == "decimal":
        return {
            "type": "bytes",
            "logicalType": "decimal",
            "precision": column.precision,
            "scale": column.scale,
        }
    return AVRO_TYPES[column.type]


# Values that only together keep the contract's checks.
_TOGETHER: dict[str, dict[str, Any]] = {
    "customers": {"status": "CLOSED"},
    "payment_receipts": {"fees_minor": 0, "suspense_minor": 0},
    "reconciliation_breaks": {"difference_minor": 0},
}
_SPECIAL = {
    "country": "CZ",
    "merchant_country": "CZ",
    "nationality": "CZ",
    "jurisdiction": "CZ",
    "mcc": "5411",
    "response_code": "00",
    "response_status": 200,
    "birth_year": 1980,
    "method": "GET",
    "source_table": "credit.holds",
    "principal_minor": 60,
    "interest_minor": 40,
    "due_amount_minor": 100,
    "outstanding_principal_minor": 50,
    "matures_on": 20000,
    "expires_on": 20000,
    "period_end": 20000,
    "expires_at": "2031-01-01T00:00:00Z",
}
_OF_PATTERN = {
    "^[A-Z]{3}$": "CZK",
    "^[0-9a-f]{64}$": "0" * 64,
    "^enc:[0-9]+:": "enc:1:sealed",
    "^https://": "https://example.org",
}


def _valid(column: Any, key: int) -> Any:
    if column.name in _SPECIAL and column.type != "code":
        return _SPECIAL[column.name]
    if column.pattern in _OF_PATTERN:
        return _OF_PATTERN[column.pattern]
    if column.type == "uuid":
        return f"00000000-0000-4000-8000-{key:012d}"
    if column.type == "decimal":
        return Decimal("0.071250").quantize(Decimal(1).scaleb(-min(column.scale, 6)))
    return {
        "string": "text",
        "code": column.allowed[0] if column.allowed else None,
        "long": 100,
        "integer": 12,
        "date": 19000,
        "timestamp": "2026-01-02T03:04:05.123456Z",
        "boolean": True,
        "json": '{"a": 1}',
    }[column.type]


def _key_value(column: Any, key: int) -> Any:
    """A part of the primary key that is another one for each `key`."""
    if column.pattern == "^[0-9]{4}$":
        return f"{key:04d}"
    if column.type in {"long", "integer"}:
        return key
    if column.type == "string" and column.pattern not in _OF_PATTERN:
        return f"p{key}"
    return _valid(column, key)


# Every transaction below 1000 is in it, whatever its LSN.
EVERYTHING = Cut.from_snapshot(10**9, "1000:1000:")


@pytest.fixture(scope="session")
def make_source(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a captured table of an entity, in a lake of its own."""
    return lambda entity: Source(spark, tmp_path_factory.mktemp("lake"), contracts.load(entity))


@pytest.fixture(scope="session")
def everything() -> Cut:
    return EVERYTHING
