"""Events on real services: what is announced arrives once, as announced, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import psycopg
import pytest

from connectors import event_schemas
from millrace.stack import declaring
from oltp import outbox
from schemas import contract, events
from tests.topic_log import Log, Message

pytestmark = pytest.mark.stack

SUBMITTED = events.load("credit.application.submitted")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def log(stack) -> Log:
    return Log(stack.env)


@pytest.fixture
def oltp(stack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stack.env["MILLRACE_OLTP_DSN"], autocommit=True) as connection:
        yield connection


def submitted(**other: object) -> outbox.Event:
    event = outbox.Event(
        type=SUBMITTED.name,
        aggregate_id=uuid4(),
        payload={
            "customer_id": uuid4(),
            "requested_amount_minor": 9007199254740993,
            "currency": "USD",
            "term_months": 12,
            "purpose": "car 🚗",
            "submitted_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        },
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        correlation_id="corr-1",
        causation_id="cause-1",
        actor_id="agent-7",
        traceparent=TRACE,
    )
    return replace(event, **other)


def of(messages: list[Message], event: outbox.Event) -> list[Message]:
    return [message for message in messages if message.key == str(event.aggregate_id)]


def test_an_event_arrives_once_with_its_headers_and_its_own_schema(stack, log, oltp):
    event = submitted()
    assert outbox.announce(oltp, [event]) == 1
    after = submitted()
    outbox.announce(oltp, [after])
    messages = log.until(SUBMITTED.topic, lambda found: bool(of(found, after)))
    (message,) = of(messages, event)
    assert message.value == outbox.record(event)
    assert message.schema["name"] == "ApplicationSubmitted"
    assert message.schema["fields"] == SUBMITTED.schema["fields"]
    tx_id, lsn = (int(message.headers.pop(name)) for name in ("tx_id", "lsn"))
    (behind,) = oltp.execute("select pg_current_wal_lsn() - '0/0'").fetchone()
    assert 0 < lsn < behind
    assert oltp.execute("select pg_xact_status(%s::text::xid8)", (tx_id,)).fetchone()
    assert message.headers == {
        "id": str(event.event_id).encode(),
        "event_type": b"credit.application.submitted",
        "event_class": b"DOMAIN",
        "aggregate_type": b"application",
        "tenant_id": str(outbox.TENANT).encode(),
        "correlation_id": b"corr-1",
        "causation_id": b"cause-1",
        "actor_id": b"agent-7",
        "traceparent": TRACE.encode(),
        "occurred_at": b"2026-01-02T03:04:05.678901Z",
    }
    assert oltp.execute("select count(*) from ops.outbox").fetchone() == (0,)


def test_what_an_event_does_not_have_is_an_empty_header(log, oltp):
    event = submitted(causation_id=None, actor_id=None, traceparent=None)
    outbox.announce(oltp, [event])
    messages = log.until(SUBMITTED.topic, lambda found: bool(of(found, event)))
    (message,) = of(messages, event)
    assert message.headers["actor_id"] is None
    assert message.value["actor_id"] is None


def test_a_rolled_back_transaction_announces_nothing(log, oltp):
    ghost, after = submitted(), submitted()
    with oltp.transaction(force_rollback=True):
        assert outbox.announce(oltp, [ghost]) == 1
    outbox.announce(oltp, [after])
    messages = log.until(SUBMITTED.topic, lambda found: bool(of(found, after)))
    assert of(messages, ghost) == []


def test_captured_rows_are_avro_records_beside_the_events_bytes(log, oltp):
    """The converter passes the outbox's bytes through and leaves the tables as they were."""
    notice = uuid4()
    oltp.execute(
        "insert into ops.notifications (notification_id, notification_type, channel,"
        " recipient_masked, template) values (%s, 'WELCOME', 'EMAIL', 'a***@b.c', 'welcome')",
        (notice,),
    )
    topic = contract.load("notifications").topic
    messages = log.until(
        topic, lambda found: any(m.key == {"notification_id": str(notice)} for m in found)
    )
    (message,) = (m for m in messages if m.key == {"notification_id": str(notice)})
    assert message.value["op"] == "c"
    assert message.value["after"]["channel"] == "EMAIL"
    assert message.schema["name"] == "Envelope"


def test_every_event_has_an_id_in_the_outbox_and_registering_again_changes_nothing(stack, oltp):
    query = "select event_type, version, schema_id, fingerprint, registered_at from"
    query += " ops.event_schemas order by 1, 2"
    before = oltp.execute(query).fetchall()
    assert {row[0] for row in before} == {event.name for event in events.load_all()}
    env = stack.env
    began = time.monotonic()
    declaring.register_schemas(env["MILLRACE_REGISTRY"], env["MILLRACE_OLTP_ADMIN_DSN"])
    assert time.monotonic() - began < 20
    assert oltp.execute(query).fetchall() == before


def test_the_registry_refuses_an_incompatible_schema_with_409(stack, tmp_path):
    was, now = '"name": "term_months", "type": "int"', '"name": "term_months", "type": "string"'
    text = SUBMITTED.file.read_text()
    assert was in text
    text = text.replace(was, now)
    (tmp_path / SUBMITTED.file.name).write_text(text)
    with pytest.raises(event_schemas.SchemaRefused, match=r"application\.submitted.*\(409\)"):
        event_schemas.register(stack.env["MILLRACE_REGISTRY"], tmp_path)
    url = f"{stack.env['MILLRACE_REGISTRY']}/subjects/{SUBMITTED.topic}-value/versions"
    assert httpx.get(url).json() == [1]
