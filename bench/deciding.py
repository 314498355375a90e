"""How the rivals of our worker decide: the same row for Postgres, without rules or care.

Always approves, knows every card beforehand, and handles no error. What it leaves behind is what
the worker leaves behind.
"""

from __future__ import annotations

import io
import json
import os
import struct
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import fastavro
import orjson
import psycopg

from schemas import events, keys, topics

DECIDE = "select * from card.decide_and_hold(%s::jsonb)"
NAMESPACE = uuid.UUID("6b1f7f0e-6e0b-5c39-9a53-1f6f2d8f4a10")
# As long as what the worker stores.
FACTS = {"features": {f"feature_{n}": n for n in range(16)}, "account": dict.fromkeys("abcdef", 1)}
ANSWER_SCHEMA = fastavro.parse_schema(
    json.loads((events.FOLDER / f"{topics.AUTHORIZATION_DECIDED}.avsc").read_text())
)
REQUEST_SCHEMA = fastavro.parse_schema(
    json.loads((events.FOLDER / f"{topics.AUTHORIZATION_REQUESTED}.avsc").read_text())
)
HEADER = struct.pack(">BI", 0, 1)


def topics_here() -> tuple[str, str]:
    """The topics this rival was told to use: requests, answers."""
    requested, decided = os.environ["BENCH_TOPICS"].split(",")
    return requested, decided


def cards(connection: psycopg.Connection[Any]) -> dict[str, tuple[str, str]]:
    """Account and customer of every card."""
    rows = connection.execute(
        "select c.card_id::text, a.account_id::text, a.customer_id::text from card.cards c"
        " join card.card_accounts a using (account_id)"
    )
    return {card: (account, customer) for card, account, customer in rows}


def versions(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """How many decisions each card has had."""
    return dict(
        connection.execute("select card_id::text, version from card.card_states").fetchall()
    )


def decode(value: bytes) -> dict[str, Any]:
    """The request in a message."""
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), REQUEST_SCHEMA, None)
    return record  # type: ignore[return-value]


def copies(card_id: str, account_id: str, customer_id: str) -> tuple[str, ...]:
    """The hashes that a decision reads."""
    return (
        keys.card_snapshot(card_id),
        keys.account_snapshot(account_id),
        keys.customer_snapshot(customer_id),
        keys.kyc_snapshot(customer_id),
    )


def row(request: Mapping[str, Any], account_id: str, version: int) -> dict[str, Any]:
    """An approval of the request, as card.decide_and_hold takes it."""
    key = request["idempotency_key"]
    same = (
        "request_id", "idempotency_key", "request_hash", "message_kind", "original_key",
        "amount_is_total", "partial_allowed", "card_id", "amount_minor", "currency", "merchant_id",
        "mcc", "merchant_country", "channel", "network", "requested_at",
    )  # fmt: skip
    return {
        **{name: request[name] for name in same},
        "authorization_id": str(uuid.uuid5(NAMESPACE, f"authorization:{key}")),
        "hold_id": str(uuid.uuid5(NAMESPACE, f"hold:{key}")),
        "entry_id": str(uuid.uuid5(NAMESPACE, f"entry:{key}")),
        "account_id": account_id,
        "decision": "APPROVED",
        "response_code": "00",
        "reason_code": "APPROVED",
        "rule_hits": [],
        "facts": FACTS,
        "rule_version": "2026-11-1",
        "card_version": version,
        "decided_at": datetime.now(UTC),
    }


def dumps(rows: list[dict[str, Any]]) -> str:
    """The batch as Postgres takes it."""
    return orjson.dumps(rows).decode()


def answer(request: Mapping[str, Any], decided: Mapping[str, Any]) -> bytes:
    """What goes to the decided topic."""
    out = io.BytesIO()
    out.write(HEADER)
    fastavro.schemaless_writer(
        out,
        ANSWER_SCHEMA,
        {
            **{
                name: request[name]
                for name in (
                    "request_id", "idempotency_key", "card_id", "currency", "requested_at",
                    "correlation_id",
                )
            },
            "authorization_id": str(decided["authorization_id"]),
            "account_id": str(decided["account_id"]),
            "decision": decided["decision"],
            "response_code": decided["response_code"],
            "reason_code": decided["reason_code"],
            "approved_amount_minor": decided["approved_amount_minor"],
            "rule_version": "2026-11-1",
            "replayed": decided["replayed"],
            "conflict": decided["conflict"],
            "decided_at": decided["decided_at"],
        },
    )  # fmt: skip
    return out.getvalue()
