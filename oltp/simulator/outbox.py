"""Announces submitted applications: one event each, in the transaction that adds them."""

from __future__ import annotations

from typing import Any
from uuid import uuid5

import psycopg
from psycopg.types.json import Jsonb

from oltp.copying import Rows

# The event's topic is credit.application.submitted.v1.
AGGREGATE = "application.submitted"


def announce(connection: psycopg.Connection, applications: Rows) -> None:
    """Send an event for each application that is not in its table yet; call before adding them.

    The rows are deleted at once: the log has them, and the table stays empty.
    """
    known = {
        row[0]
        for row in connection.execute(
            "select application_id from credit.applications where application_id = any(%s)",
            ([row["application_id"] for row in applications],),
        )
    }
    events = [_event(row) for row in applications if row["application_id"] not in known]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.outbox (id, aggregatetype, aggregateid, type, payload, correlation_id)"
            " values (%s, %s, %s, 'ApplicationSubmitted', %s, %s)",
            events,
        )
        cursor.executemany("delete from ops.outbox where id = %s", [event[:1] for event in events])


def _event(application: Any) -> tuple[Any, ...]:
    application_id = application["application_id"]
    payload = {
        "application_id": str(application_id),
        "customer_id": str(application["customer_id"]),
        "requested_amount_minor": application["requested_amount_minor"],
        "currency": application["currency"],
        "term_months": application["term_months"],
        "purpose": application["purpose"],
        "submitted_at": application["submitted_at"].isoformat(),
    }
    event_id = uuid5(application_id, "submitted")
    return event_id, AGGREGATE, str(application_id), Jsonb(payload), str(event_id)
