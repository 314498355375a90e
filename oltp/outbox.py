"""Announces what happened: events that reach Kafka if, and only if, the transaction commits.

    outbox.announce(connection, [outbox.Event(type="credit.application.submitted", ...)])

An event is written to ops.outbox and deleted again in the same transaction: Debezium sends the
insert to the topic `<type>.v<version>` and the table stays empty. The payload is checked against
the event's Avro schema before anything is written; EventError names event and field. The default
event id follows from type, aggregate and time, so what is announced again carries the same id.

A database whose schemas nobody has registered (`millrace up` does, before capture starts) has no
log to announce into: `announce` then writes nothing and returns 0.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID, uuid5

import fastavro
import psycopg
from fastavro.validation import validate

from schemas import events

# The tenant that customers belong to unless said otherwise.
TENANT = UUID("00000000-0000-0000-0000-000000000001")
_IDS = UUID("6f0d6ad1-55f5-5d8b-9d3f-4c0b7a3b0f10")
_WIRE = struct.Struct(">BI")
_INSERT = """
insert into ops.outbox (
    event_id, topic, event_type, event_version, event_class, aggregate_type, aggregate_id,
    tenant_id, correlation_id, causation_id, actor_id, traceparent, occurred_at, payload)
values (
    %(event_id)s, %(topic)s, %(event_type)s, %(event_version)s, %(event_class)s,
    %(aggregate_type)s, %(aggregate_id)s, %(tenant_id)s, %(correlation_id)s, %(causation_id)s,
    %(actor_id)s, %(traceparent)s, %(occurred_at)s, %(payload)s)
"""


class EventError(ValueError):
    """An event that is not what its schema says; the message names event and field."""


class NotRegistered(RuntimeError):
    """The event's schema has no id in this database, though others have; says what to run."""


@dataclass(frozen=True)
class Event:
    """Something that happened to an aggregate. `payload` gives the schema's own fields."""

    type: str
    aggregate_id: UUID | str
    payload: Mapping[str, Any]
    occurred_at: datetime
    correlation_id: str
    causation_id: str | None = None
    actor_id: str | None = None
    tenant_id: UUID = TENANT
    traceparent: str | None = None
    event_id: UUID = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.event_id is None:
            name = f"{self.type}:{self.aggregate_id}:{self.occurred_at.isoformat()}"
            object.__setattr__(self, "event_id", uuid5(_IDS, name))


def announce(connection: psycopg.Connection[Any], announced: Iterable[Event]) -> int:
    """Send the events with the connection's transaction (or one of their own); how many were sent.

    Nothing is sent when the transaction is rolled back, or when one of the events is wrong.
    """
    checked = [(event, _type(event), record(event)) for event in announced]
    if not checked:
        return 0
    ids = _schema_ids(connection)
    if not ids:
        return 0
    rows = [_row(event, kind, _datum(kind, values, ids)) for event, kind, values in checked]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)
        cursor.execute(
            "delete from ops.outbox where event_id = any(%s)", ([r["event_id"] for r in rows],)
        )
    return len(rows)


def record(event: Event) -> dict[str, Any]:
    """The event as its Avro record, checked field by field."""
    kind = _type(event)
    if event.occurred_at.tzinfo is None:
        raise EventError(f"{event.type}: occurred_at has no time zone")
    if unknown := sorted(set(event.payload) - set(kind.own_fields)):
        raise EventError(
            f"{event.type}: {', '.join(unknown)} is not in its schema; "
            f"its fields are {', '.join(kind.own_fields)}"
        )
    envelope = {
        "event_id": str(event.event_id),
        "event_class": kind.event_class.value,
        "occurred_at": event.occurred_at,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "tenant_id": str(event.tenant_id),
        "actor_id": event.actor_id,
        "traceparent": event.traceparent,
        "aggregate_id": str(event.aggregate_id),
    }
    values = {**envelope, **{name: _plain(value) for name, value in event.payload.items()}}
    for spec in kind.schema["fields"]:
        if (fault := _fault(spec, values)) is not None:
            raise EventError(f"{event.type}: {spec['name']} {fault}")
    return values


def _fault(spec: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """What Avro's own reading of types would let pass, or not name."""
    if spec["name"] not in values:
        return None if "default" in spec else "is missing"
    value, kinds = values[spec["name"]], str(spec["type"])
    if isinstance(value, datetime):
        if "timestamp-micros" not in kinds:
            return f"is {_wanted(spec)}, not a time"
        return None if value.tzinfo else "has no time zone"
    if isinstance(value, Decimal) and "decimal" in kinds and not _fits(value, spec["type"]):
        return f"is {_wanted(spec)}; the value has more digits, or is no number"
    # A bool is an int in Python, and not in Avro.
    if (isinstance(value, bool) and "boolean" not in kinds) or not validate(
        value, _parsed(json.dumps(spec["type"])), raise_errors=False
    ):
        return f"is {_wanted(spec)}, not {type(value).__name__}"
    return None


def _fits(value: Decimal, kind: Any) -> bool:
    """Whether a decimal can be written as it is: nothing is rounded on the way."""
    options = kind if isinstance(kind, list) else [kind]
    decimal = next(o for o in options if isinstance(o, dict) and o.get("logicalType") == "decimal")
    if not value.is_finite():
        return False
    whole = value.scaleb(decimal["scale"])
    return whole == whole.to_integral_value() and abs(whole) < 10 ** decimal["precision"]


def _wanted(spec: Mapping[str, Any]) -> str:
    kinds = spec["type"] if isinstance(spec["type"], list) else [spec["type"]]
    return " or ".join(
        str(k.get("logicalType", k["type"]) if isinstance(k, dict) else k) for k in kinds
    )


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value


def _type(event: Event) -> events.EventType:
    try:
        return events.load(event.type)
    except KeyError as error:
        raise EventError(error.args[0]) from None


@cache
def _parsed(schema: str) -> Any:
    return fastavro.parse_schema(json.loads(schema))


def _schema_ids(connection: psycopg.Connection[Any]) -> dict[tuple[str, int], int]:
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute("select event_type, version, schema_id from ops.event_schemas")
        return {(name, version): number for name, version, number in cursor}


def _datum(
    kind: events.EventType, values: Mapping[str, Any], ids: Mapping[tuple[str, int], int]
) -> bytes:
    number = ids.get((kind.name, kind.version))
    if number is None:
        raise NotRegistered(
            f"{kind.topic} has no schema id in ops.event_schemas: run `millrace topics apply`"
        )
    out = io.BytesIO()
    out.write(_WIRE.pack(0, number))
    fastavro.schemaless_writer(out, _parsed(json.dumps(kind.schema)), values)
    return out.getvalue()


def _row(event: Event, kind: events.EventType, payload: bytes) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "topic": kind.topic,
        "event_type": kind.name,
        "event_version": kind.version,
        "event_class": kind.event_class.value,
        "aggregate_type": kind.aggregate_type,
        "aggregate_id": str(event.aggregate_id),
        "tenant_id": event.tenant_id,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "actor_id": event.actor_id,
        "traceparent": event.traceparent,
        "occurred_at": event.occurred_at,
        "payload": payload,
    }
