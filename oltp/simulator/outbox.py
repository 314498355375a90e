"""Announces submitted applications: one event each, in the transaction that adds them."""

from __future__ import annotations

import psycopg

from oltp import outbox
from oltp.copying import Rows


def announce(connection: psycopg.Connection, applications: Rows) -> None:
    """Send an event for each application that is not in its table yet; call before adding them."""
    known = {
        row[0]
        for row in connection.execute(
            "select application_id from credit.applications where application_id = any(%s)",
            ([row["application_id"] for row in applications],),
        )
    }
    new = [row for row in applications if row["application_id"] not in known]
    outbox.announce(
        connection,
        [
            outbox.Event(
                type="credit.application.submitted",
                aggregate_id=row["application_id"],
                payload={
                    "customer_id": row["customer_id"],
                    "requested_amount_minor": row["requested_amount_minor"],
                    "currency": row["currency"],
                    "term_months": row["term_months"],
                    "purpose": row["purpose"],
                    "submitted_at": row["submitted_at"],
                },
                occurred_at=row["submitted_at"],
                correlation_id=str(row["application_id"]),
            )
            for row in new
        ],
    )
