"""A card network for tests: what it asks and tells about its cards, as the application hears it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from tests.oltp.conftest import Database

Row = dict[str, Any]
# Of a purchase, as whoever stands in for us repeats it.
FACTS = {"merchant_id": "M-1", "mcc": "5411", "merchant_country": "US", "channel": "CHIP"}


@dataclass(frozen=True)
class Card:
    """A card and its account."""

    card_id: UUID
    account_id: UUID


def now() -> str:
    return datetime.now(UTC).isoformat()


def request(card: Card, amount: int, key: str | None = None, **changes: Any) -> Row:
    """A request that the policy approves, as the agent hands it over."""
    return {
        "request_id": str(uuid4()),
        "authorization_id": str(uuid4()),
        "hold_id": str(uuid4()),
        "entry_id": str(uuid4()),
        "idempotency_key": key or str(uuid4()),
        "request_hash": "a" * 64,
        "message_kind": "PURCHASE",
        "original_key": None,
        "amount_is_total": False,
        "partial_allowed": False,
        "card_id": str(card.card_id),
        "account_id": str(card.account_id),
        "amount_minor": amount,
        "currency": "USD",
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "US",
        "channel": "CHIP",
        "network": "VISA",
        "decision": "APPROVED",
        "response_code": "00",
        "reason_code": "APPROVED",
        "rule_hits": [],
        "facts": {},
        "rule_version": "v1",
        "requested_at": now(),
        "decided_at": now(),
        **changes,
    }


def message(kind: str, original: str | None = None, **fields: Any) -> Row:
    """A message about what `original` names, under a key of its own."""
    return {
        "message_key": str(uuid4()),
        "message_kind": kind,
        "request_hash": "b" * 64,
        "original_key": original,
        "occurred_at": now(),
        **{name: str(v) if isinstance(v, UUID) else v for name, v in fields.items()},
    }


class Network:
    """One database and the cards that were issued in it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def card(self, limit: int = 100_000, currency: str = "USD") -> Card:
        customer, account, card = uuid4(), uuid4(), uuid4()
        with self.session() as connection:
            connection.execute(
                "insert into customer.customers (customer_id, country) values (%s, 'US')",
                (customer,),
            )
            connection.execute(
                "insert into card.card_accounts (account_id, customer_id, currency,"
                " credit_limit_minor, opened_on) values (%s, %s, %s, %s, '2024-01-01')",
                (account, customer, currency, limit),
            )
            connection.execute(
                "insert into card.cards (card_id, account_id, product, issued_on, expires_on)"
                " values (%s, %s, 'CLASSIC', '2024-01-01', '2034-01-01')",
                (card, account),
            )
        return Card(card, account)

    def decide(self, *requests: Row) -> list[Row]:
        return self._call("card.decide_and_hold", requests)

    def apply(self, *messages: Row) -> list[Row]:
        return self._call("card.apply_messages", messages)

    def authorize(self, card: Card, amount: int, key: str | None = None, **changes: Any) -> str:
        """The key of an approval."""
        asked = request(card, amount, key, **changes)
        (answer,) = self.decide(asked)
        assert answer["decision"] == "APPROVED", answer
        return str(asked["idempotency_key"])

    def decline(self, card: Card, amount: int = 500, key: str | None = None) -> str:
        """The key of a decline."""
        verdict = {"decision": "DECLINED", "response_code": "59", "reason_code": "RISK_TOO_HIGH"}
        asked = request(card, amount, key, **verdict)
        self.decide(asked)
        return str(asked["idempotency_key"])

    def increment(self, card: Card, original: str, amount: int, **changes: Any) -> Row:
        asked = {"message_kind": "INCREMENT", "original_key": original, **changes}
        return self.decide(request(card, amount, **asked))[0]

    def tell(self, kind: str, original: str | None = None, **fields: Any) -> Row:
        """What one message came to."""
        return self.apply(message(kind, original, **fields))[0]

    def expire(self, key: str) -> None:
        """The time of the key's hold is over, and the clock ticks."""
        with self.session() as connection:
            connection.execute(
                "update card.holds set expires_at = now() - interval '1 second'"
                " where hold_id = (card.standing_of(%s)).hold_id",
                (key,),
            )
            connection.execute("select card.expire_holds()")

    def standing(self, key: str) -> str:
        """The state of what the key names, in words of schemas/lifecycle.py."""
        return str(self.one("select (card.standing_of(%s)).state", key))

    def balances(self, card: Card) -> tuple[int, int, int]:
        """Posted, held, available."""
        (row,) = self.rows(
            "select posted_minor, held_minor, credit_limit_minor - posted_minor - held_minor"
            " as available_minor from card.card_accounts where account_id = %s",
            card.account_id,
        )
        return (row["posted_minor"], row["held_minor"], row["available_minor"])

    def rows(self, query: str, *values: object) -> list[Row]:
        with psycopg.connect(self.database.admin, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> Any:
        """The first value of the first row."""
        return next(iter(self.rows(query, *values)[0].values()))

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Row]]:
        """A transaction of the application."""
        with psycopg.connect(self.database.app, row_factory=dict_row) as connection:
            yield connection

    def _call(self, function: str, batch: Iterable[Row]) -> list[Row]:
        with self.session() as connection:
            return connection.execute(
                f"select * from {function}(%s)", (json.dumps(list(batch)),)
            ).fetchall()


def together(network: Network, batches: list[list[Row]]) -> list[Row]:
    """Each batch from a session of its own, all let go at the same moment."""
    start = threading.Barrier(len(batches))

    def run(batch: list[Row]) -> list[Row]:
        start.wait()
        send = network.apply if "message_key" in batch[0] else network.decide
        return send(*batch)

    with ThreadPoolExecutor(len(batches)) as pool:
        return [answer for answers in pool.map(run, batches) for answer in answers]
