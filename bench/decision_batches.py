"""Authorizations a second that Postgres decides in batches of 100, against one by one.

The same function, the same table, durable commits, one connection; only the batch differs.
"""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import orjson
import psycopg

from bench.pairs import interleave, report
from millrace.stack import Stack
from oltp import simulator

CALL = "select count(*) from card.decide_and_hold(%s::jsonb)"
CARDS = "select c.card_id::text, a.account_id::text, a.currency from card.cards c join card.card_accounts a using (account_id) where c.status = 'ACTIVE' and a.status = 'ACTIVE'"  # fmt: skip  # noqa: E501
NUMBERS = count()


def main() -> None:
    """Start a Postgres of its own, measure, stop it."""
    home = Path(mkdtemp(prefix="millrace-bench-"))
    home.chmod(0o755)
    stack = Stack(home)
    try:
        stack.up(("postgres",))
        dsn = stack.env["MILLRACE_OLTP_DSN"]
        os.environ.update(stack.env)  # the keys of personal data
        simulator.seed(dsn, customers=200, seed=7)
        with psycopg.connect(dsn, autocommit=True) as connection:
            cards = connection.execute(CARDS).fetchall()
            pairs = interleave(
                lambda: rate(connection, cards, batch=100, requests=4000),
                lambda: rate(connection, cards, batch=1, requests=400),
            )
        report("decision_batches", pairs, target=5.0, better="higher")
    finally:
        stack.down(purge=True)


def rate(
    connection: psycopg.Connection, cards: list[tuple[str, str, str]], batch: int, requests: int
) -> float:
    """Decisions a second."""
    calls = [
        orjson.dumps([request(cards) for _ in range(batch)]).decode()
        for _ in range(requests // batch)
    ]
    began = time.perf_counter()
    for call in calls:
        connection.execute(CALL, (call,))
    return requests / (time.perf_counter() - began)


def request(cards: list[tuple[str, str, str]]) -> dict[str, object]:
    number = next(NUMBERS)
    card_id, account_id, currency = cards[number % len(cards)]
    now = "2026-01-02T03:04:05Z"
    ids = ("authorization_id", "hold_id", "entry_id", "request_id", "idempotency_key")
    return {
        **{name: str(uuid4()) for name in ids},
        "request_hash": "0" * 64,
        "card_id": card_id,
        "account_id": account_id,
        "amount_minor": 1,
        "currency": currency,
        "merchant_id": "bench",
        "mcc": "5411",
        "merchant_country": "DE",
        "channel": "CHIP",
        "decision": "APPROVED",
        "response_code": "00",
        "reason_code": "APPROVED",
        "rule_hits": [],
        "facts": {},
        "rule_version": "bench",
        "requested_at": now,
        "decided_at": now,
        "hold_expires_at": "2026-01-09T03:04:05Z",
    }


if __name__ == "__main__":
    main()
