"""Timelines of applications from decoded events, pure: which events, in which order, to what end.

Events of offers and credits are linked to their application by the ids that earlier events carry;
one whose link is not known yet is kept without an application, and is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.projections import application
from pipelines.projections.application import Event

# What is kept of an event; the fold adds its position, the status after it and what was odd.
EVENT = {
    "event_id": "string",
    "event": "string",
    "aggregate_id": "string",
    "application_id": "string",
    "offer_id": "string",
    "credit_id": "string",
    "occurred_at": "timestamp",
    "correlation_id": "string",
    "causation_id": "string",
    "actor_id": "string",
    "payload": "string",
    "tx_id": "bigint",
    "lsn": "bigint",
    "topic": "string",
    "partition": "int",
    "offset": "bigint",
}
ADDED = {"position": "int", "status": "string", "remark": "string"}
_STATE = {
    "customer_id": "string",
    "requested_amount_minor": "bigint",
    "currency": "string",
    "term_months": "int",
    "purpose": "string",
    "status": "string",
    "submitted_at": "bigint",
    "decided_at": "bigint",
    "withdrawn_at": "bigint",
    "decision_reasons": "array<string>",
    "rule_version": "string",
    "quotes": "int",
    "offers": "int",
    "offers_declined": "int",
    "offers_expired": "int",
    "accepted_offer_id": "string",
    "financed_amount_minor": "bigint",
    "credit_id": "string",
    "credit_state": "string",
    "events": "int",
    "first_at": "bigint",
    "last_at": "bigint",
    "is_complete": "boolean",
    "remarks": "array<string>",
}
_TIMES = ("submitted_at", "decided_at", "withdrawn_at", "first_at", "last_at")
_STEPS = "array<struct<event_id: string, position: int, status: string, remark: string>>"


def linked(events: DataFrame, offers: DataFrame, credits: DataFrame) -> DataFrame:
    """Each event once, with its application where the links say it.

    `offers` is (offer_id, application_id), `credits` is (credit_id, offer_id).
    """
    # A redelivery has the same id at a higher offset.
    first = Window.partitionBy("event_id").orderBy("topic", "partition", "offset")
    once = events.withColumn("_n", F.row_number().over(first)).where("_n = 1").drop("_n")
    paid = once.join(_unique(credits, "credit_id", "offer_id", "_paid"), "credit_id", "left")
    of_offer = paid.withColumn("offer_id", F.coalesce("offer_id", "_paid")).drop("_paid")
    found = of_offer.join(_unique(offers, "offer_id", "application_id", "_of"), "offer_id", "left")
    return found.withColumn("application_id", F.coalesce("application_id", "_of")).select(*EVENT)


def folded(events: DataFrame) -> DataFrame:
    """(application_id, state, steps) of all events of the applications, each event linked."""
    told = F.struct("event_id", "event", "aggregate_id", "lsn", F.unix_micros("occurred_at"),
                    "payload")  # fmt: skip
    return (
        events.groupBy("application_id")
        .agg(F.collect_list(told).alias("told"))
        .select("application_id", F.udf(_folded, _FOLDED)("told").alias("folded"))
        .select("application_id", "folded.*")
    )


def steps(events: DataFrame, of: DataFrame) -> DataFrame:
    """The events with what the fold says of each: rows of the timeline."""
    said = of.selectExpr("inline(steps)")
    return events.join(said, "event_id").select(*EVENT, *ADDED)


def states(of: DataFrame) -> DataFrame:
    """One row an application, as its events tell it."""
    return of.selectExpr(
        "application_id",
        *(
            f"timestamp_micros(state.{name}) as {name}" if name in _TIMES else f"state.{name}"
            for name in _STATE
        ),
    )


def _unique(links: DataFrame, on: str, to: str, name: str) -> DataFrame:
    known = links.where(f"{on} is not null and {to} is not null")
    return known.groupBy(on).agg(F.min(to).alias(name))


def _folded(told: Sequence[Any]) -> tuple[Any, Any]:
    made = application.fold(
        Event(id_, name, subject, lsn, at_us, json.loads(payload))
        for id_, name, subject, lsn, at_us, payload in told
    )
    state = (
        made.customer_id,
        made.requested_amount_minor,
        made.currency,
        made.term_months,
        made.purpose,
        made.status,
        made.submitted_at_us,
        made.decided_at_us,
        made.withdrawn_at_us,
        made.decision_reasons,
        made.rule_version,
        made.quotes,
        len(made.offers),
        made.offers_in("DECLINED"),
        made.offers_in("EXPIRED"),
        made.accepted_offer_id,
        made.financed_amount_minor,
        made.credit_id,
        made.credit_state,
        len(made.steps),
        made.first_at_us,
        made.last_at_us,
        made.is_complete,
        made.remarks,
    )
    return state, [(s.event_id, s.position, s.status, s.remark) for s in made.steps]


_FOLDED = (
    f"state struct<{', '.join(f'{name}: {kind}' for name, kind in _STATE.items())}>, steps {_STEPS}"
)
