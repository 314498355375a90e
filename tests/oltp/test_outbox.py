"""The outbox: what is announced is whole, checked, and gone again with its transaction."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import fastavro
import psycopg
import pytest

from oltp import outbox
from schemas import events
from streams import codec

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
OFFER = {
    "application_id": uuid4(),
    "provider_id": uuid4(),
    "amount_minor": 1_000_00,
    "currency": "USD",
    "interest_rate": Decimal("0.071250"),
    "apr": Decimal("0.08"),
    "term_months": 12,
    "monthly_payment_minor": 8_700,
    "valid_until": NOW + timedelta(days=14),
}


def offer(**payload: object) -> outbox.Event:
    return outbox.Event(
        type="credit.offer.presented",
        aggregate_id=uuid4(),
        payload={**OFFER, **payload},
        occurred_at=NOW,
        correlation_id="c",
    )


@pytest.fixture(scope="module")
def registered(database):
    """The module's database, told the ids that a registry would give."""
    with psycopg.connect(database.admin) as connection:
        for number, event in enumerate(events.load_all(), start=1):
            text = hashlib.sha256(event.name.encode()).hexdigest()
            connection.execute(
                "insert into ops.event_schemas values (%s, %s, %s, %s, %s)",
                (event.name, event.version, event.event_class.value, number, text),
            )
    return database


def test_what_is_announced_leaves_an_empty_table(registered):
    with psycopg.connect(registered.app) as connection:
        assert outbox.announce(connection, [offer(), offer()]) == 2
        assert connection.execute("select count(*) from ops.outbox").fetchone() == (0,)


def test_the_bytes_are_wire_format_under_the_registered_id(registered):
    """Seen through a trigger, since the row is gone as soon as it is there."""
    event = offer()
    with psycopg.connect(registered.admin) as connection:
        connection.execute(
            "create temp table seen (payload bytea);"
            "create function pg_temp.see() returns trigger language plpgsql as"
            " 'begin insert into seen values (new.payload); return new; end';"
            "create trigger see before insert on ops.outbox for each row"
            " execute function pg_temp.see()"
        )
        outbox.announce(connection, [event])
        (payload,) = connection.execute("select payload from seen").fetchone()
        (wanted,) = connection.execute(
            "select schema_id from ops.event_schemas where event_type = %s", (event.type,)
        ).fetchone()
        connection.rollback()
    schema_id, rest = codec.split(payload)
    assert schema_id == wanted
    schema = fastavro.parse_schema(events.load(event.type).schema)
    read = codec.datum(rest, schema)
    assert read == outbox.record(event)
    assert read["interest_rate"] == Decimal("0.071250")


@pytest.mark.parametrize("event", events.load_all(), ids=lambda e: e.name)
def test_every_event_can_be_announced(registered, event):
    """A value for each field, from the schema alone."""
    plain = {"string": "x", "long": 1, "int": 1, "boolean": True, "array": ["a"]}
    logical = {"timestamp-micros": NOW, "date": date(2026, 1, 2), "decimal": Decimal("1.5")}
    payload = {}
    for field in event.schema["fields"][len(events.ENVELOPE) :]:
        kind = field["type"]
        if isinstance(kind, list):
            continue  # nullable: left out
        if isinstance(kind, dict) and "logicalType" in kind:
            payload[field["name"]] = logical[kind["logicalType"]]
        else:
            payload[field["name"]] = plain[kind["type"] if isinstance(kind, dict) else kind]
    made = outbox.Event(event.name, uuid4(), payload, NOW, "c")
    with psycopg.connect(registered.app) as connection:
        assert outbox.announce(connection, [made]) == 1


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"term_months": "12"}, "term_months is int, not str"),
        ({"term_months": True}, "term_months is int, not bool"),
        ({"amount_minor": 10.0}, "amount_minor is long, not float"),
        ({"amount_minor": 2**63}, "amount_minor is long"),
        ({"amount_minor": None}, "amount_minor is long, not NoneType"),
        ({"interest_rate": 0.07}, "interest_rate is decimal, not float"),
        ({"interest_rate": Decimal("0.0712501")}, "interest_rate is decimal; the value has more"),
        ({"interest_rate": Decimal("1234")}, "interest_rate is decimal; the value has more"),
        ({"interest_rate": Decimal("NaN")}, "interest_rate is decimal; .* or is no number"),
        ({"valid_until": datetime(2026, 1, 2)}, "valid_until has no time zone"),
        ({"valid_until": "2026-01-02"}, "valid_until is timestamp-micros, not str"),
        ({"email": "a@b.c"}, "email is not in its schema; its fields are application_id"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_a_wrong_field_is_refused_by_name_before_anything_is_written(registered, payload, says):
    with psycopg.connect(registered.app) as connection:
        with pytest.raises(outbox.EventError, match=f"credit.offer.presented: {says}"):
            outbox.announce(connection, [offer(), offer(**payload)])
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_missing_field_is_refused_by_name(registered):
    event = offer()
    short = {name: value for name, value in event.payload.items() if name != "apr"}
    with (
        psycopg.connect(registered.app) as connection,
        pytest.raises(outbox.EventError, match="apr is missing"),
    ):
        outbox.announce(connection, [replace(event, payload=short)])


def test_an_unknown_event_is_refused_with_those_of_its_entity(registered):
    wrong = outbox.Event("credit.offer.shown", uuid4(), {}, NOW, "c")
    with (
        psycopg.connect(registered.app) as connection,
        pytest.raises(outbox.EventError, match=r"credit\.offer\.presented"),
    ):
        outbox.announce(connection, [wrong])


def test_the_same_happening_has_the_same_id_however_often_it_is_announced():
    aggregate = uuid4()
    first, again = (replace(offer(), aggregate_id=aggregate, event_id=None) for _ in range(2))
    assert first.event_id == again.event_id
    assert first.event_id != replace(first, occurred_at=NOW + timedelta(1), event_id=None).event_id


def test_without_registered_schemas_nothing_is_announced_and_that_is_said(empty_migrated):
    with psycopg.connect(empty_migrated.app) as connection:
        assert outbox.announce(connection, [offer()]) == 0


def test_an_event_whose_schema_was_forgotten_is_refused(empty_migrated):
    with psycopg.connect(empty_migrated.admin) as connection:
        connection.execute(
            "insert into ops.event_schemas values ('credit.card.issued', 1, 'DOMAIN', 1, %s)",
            ("0" * 64,),
        )
        with pytest.raises(outbox.NotRegistered, match=r"presented\.v1 .*millrace topics apply"):
            outbox.announce(connection, [offer()])


@pytest.mark.parametrize(
    "column", ["topic = 'oltp.ledger.entries'", "payload = 'x'", "traceparent = 'x'",
               "event_class = 'OTHER'", "aggregate_type = 'offer'", "event_version = 2"]
)  # fmt: skip
def test_the_table_refuses_what_announce_would_not_write(registered, column):
    with psycopg.connect(registered.admin) as connection:
        connection.execute(
            "insert into ops.outbox (event_id, topic, event_type, event_version, event_class,"
            " aggregate_type, aggregate_id, tenant_id, correlation_id, occurred_at, payload)"
            " values (gen_random_uuid(), 'credit.card.issued.v1', 'credit.card.issued', 1,"
            " 'DOMAIN', 'card', 'a', gen_random_uuid(), 'c', now(), '\\x000000000100')"
        )
        with pytest.raises(psycopg.errors.IntegrityError):
            connection.execute(f"update ops.outbox set {column}")
        connection.rollback()
