"""Authorizations a second that Postgres decides in batches of 100, against one by one.

The same function, the same tables, durable commits, one connection; only the batch differs. Ledger,
audit and facts are written as in service. Beside the rates: the backend's time on a processor per
decision, which a busy machine changes less.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import uuid4

import orjson
import psycopg

from bench.own_stack import own_stack
from bench.pairs import interleave, report
from bench.swipes import MAKE_CARDS
from schemas.features import DECISION_SET, DECISION_VERSIONS

CALL = "select * from card.decide_and_hold(%s::jsonb)"
CARDS = 500
LIMITED = """
insert into card.spend_limits (card_id, period, currency, count_limit, amount_limit_minor)
select card_id, 'DAY', 'USD', 1000000, 1000000000 from bench.cards order by card_id limit {limited}
"""
NUMBERS = count()
# What a decision rests on, in the size that the agent writes.
FACTS = {
    "request": {"message_kind": "PURCHASE", "partial_allowed": False},
    "card": {
        "account_id": str(uuid4()),
        "product": "CLASSIC",
        "status": "ACTIVE",
        "expires_on": "2036-01-01",
    },
    "account": {
        "customer_id": str(uuid4()),
        "currency": "USD",
        "credit_limit_minor": 1_000_000_000_000,
        "posted_minor": 0,
        "held_minor": 1234,
        "status": "ACTIVE",
        "program_id": "standard",
    },
    "customer": {"status": "ACTIVE", "country": "DE"},
    "kyc": [
        {
            "kyc_record_id": str(uuid4()),
            "verification_type": "IDENTITY",
            "status": "VERIFIED",
            "expires_at": "2027-01-01T00:00:00+00:00",
        }
    ],
    "is_sanctioned": False,
    "health": None,
    "features": dict.fromkeys(DECISION_VERSIONS, 7),
    "feature_set": DECISION_SET,
    "feature_versions": DECISION_VERSIONS,
    "lsn": "0/1A2B3C4D",
    "source": "memory",
}


def main() -> None:
    """Start a Postgres of its own, measure, stop it."""
    with own_stack("postgres") as stack:
        with psycopg.connect(stack.env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True) as owner:
            owner.execute(MAKE_CARDS.format(cards=CARDS))
            owner.execute(LIMITED.format(limited=CARDS // 4))
            cards = owner.execute("select card_id::text, account_id::text from bench.cards")
            swipes = Swipes(stack.env["MILLRACE_OLTP_DSN"], cards.fetchall())
        for batch in (1, 20, 100, 300):
            rate = swipes.rate(batch, requests=500 if batch == 1 else 6000)
            print(f"batches of {batch}: {rate:,.0f}/s, {swipes.busy_us:,.0f} us busy per decision")
        pairs = interleave(
            lambda: swipes.rate(100, requests=6000), lambda: swipes.rate(1, requests=500)
        )
        report("decision_batches", pairs, target=5.0, better="higher")


class Swipes:
    """Requests for the cards by turns, on one connection of the application."""

    def __init__(self, dsn: str, cards: list[tuple[str, str]]) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.cards = cards
        self.busy_us = 0.0

    def rate(self, batch: int, requests: int) -> float:
        """Decisions a second; notes how busy the backend was."""
        calls = [
            orjson.dumps([request(self.cards) for _ in range(batch)]).decode()
            for _ in range(requests // batch)
        ]
        busy_ns, began = self.backend_ns(), time.perf_counter()
        for call in calls:
            self.connection.execute(CALL, (call,)).fetchall()
        seconds = time.perf_counter() - began
        decided = len(calls) * batch
        self.busy_us = (self.backend_ns() - busy_ns) / 1000 / decided
        return decided / seconds

    def backend_ns(self) -> int:
        """Time that the connection's backend has run."""
        pid = self.connection.info.backend_pid
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def request(cards: list[tuple[str, str]]) -> dict[str, object]:
    """The next request: one minor unit, a card after the other."""
    number = next(NUMBERS)
    card_id, account_id = cards[number % len(cards)]
    now = datetime.now(UTC)
    ids = ("authorization_id", "hold_id", "entry_id", "request_id", "idempotency_key")
    return {
        **{name: str(uuid4()) for name in ids},
        "request_hash": "0" * 64,
        "message_kind": "PURCHASE",
        "card_id": card_id,
        "account_id": account_id,
        "amount_minor": 1,
        "currency": "USD",
        "merchant_id": f"M-{number % 50}",
        "mcc": "5411",
        "merchant_country": "DE",
        "channel": "CHIP",
        "network": "VISA",
        "decision": "APPROVED",
        "response_code": "00",
        "reason_code": "APPROVED",
        "rule_hits": [],
        "facts": FACTS,
        "rule_version": "bench",
        "requested_at": now,
        "decided_at": now,
    }


if __name__ == "__main__":
    main()
