"""Decides on a real Postgres as the agent does, at moments of the test's choosing.

The judging and the rows are the agent's own; facts are read from the record for each batch. A desk
keeps histories in mind, so two desks on the same cards fall behind one another and judge again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from schemas.events import AuthorizationRequested, request_hash
from streams.authorization.history import Attempt, CardHistory, milliseconds
from streams.authorization.judging import judge, remembered, row_of
from streams.authorization.policy import Account, Card, CardFacts, Customer, KycRecord
from streams.authorization.rules import RuleSet

FACTS = """
select c.card_id::text, c.product, c.status as card_status, c.expires_on, a.account_id::text,
    a.currency::text, a.credit_limit_minor, a.posted_minor, a.held_minor,
    a.status as account_status, a.program_id, u.customer_id::text, u.status, u.country::text
from card.cards c join card.card_accounts a using (account_id) join customer.customers u
    using (customer_id)
where c.card_id = any(%s::uuid[])
"""
EARLIER = """
select * from card.authorizations where card_id = %s and card_version is not null
order by card_version
"""


@dataclass(frozen=True)
class Plastic:
    """A card and its account."""

    card_id: str
    account_id: str
    currency: str


class Desk:
    """One worker's view of its cards."""

    def __init__(self, dsn: str, rules: RuleSet, shadows: Sequence[RuleSet] = ()) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.rules = rules
        self.shadows = tuple(shadows)
        self.histories: dict[str, CardHistory] = {}
        self.judged_again = 0

    def decide(self, requests: Sequence[AuthorizationRequested], now: datetime) -> dict[str, dict]:
        """Each request decided once; by its key."""
        answers: dict[str, dict] = {}
        waiting = list(requests)
        while waiting:
            judged = judge(
                waiting, self._facts({r.card_id for r in waiting}), self.rules, self.shadows, now
            )
            rows = [row_of(one) for one in judged]
            found = self.connection.execute(
                "select * from card.decide_and_hold(%s)", (json.dumps(rows, default=str),)
            ).fetchall()
            stale = set()
            for one, row in zip(judged, found, strict=True):
                card_id = one.request.card_id
                if row["stale"]:
                    stale.add(card_id)
                    continue
                answers[one.request.idempotency_key] = row
                if one.facts.card and not row["replayed"]:
                    self.histories[card_id] = remembered(one, row)
                if one.request.amount_is_total:
                    self.histories.pop(card_id, None)
            for card_id in stale:
                self.histories.pop(card_id, None)
            waiting = [r for r in waiting if r.idempotency_key not in answers]
            self.judged_again += len(waiting)
        return answers

    def _facts(self, card_ids: set[str]) -> dict[str, CardFacts]:
        rows = self.connection.execute(FACTS, (list(card_ids),)).fetchall()
        return {row["card_id"]: self._fact(row) for row in rows}

    def _fact(self, row: dict[str, Any]) -> CardFacts:
        card_id = row["card_id"]
        if card_id not in self.histories:
            attempts = [
                Attempt.from_row(earlier, milliseconds(earlier["decided_at"]))
                for earlier in self.connection.execute(EARLIER, (card_id,))
            ]
            self.histories[card_id] = CardHistory.of(len(attempts), attempts)
        return CardFacts(
            card=Card(row["account_id"], row["product"], row["card_status"], row["expires_on"]),
            account=Account(
                row["customer_id"], row["currency"], row["credit_limit_minor"],
                row["posted_minor"], row["held_minor"], row["account_status"], row["program_id"],
            ),
            customer=Customer(row["status"], row["country"]),
            kyc=(KycRecord("IDENTITY", "VERIFIED", datetime(2024, 1, 1, tzinfo=UTC)),),
            history=self.histories[card_id],
            lsn="0/1",
            source="memory",
        )  # fmt: skip


def new_card(
    connection: psycopg.Connection,
    limit_minor: int = 10**9,
    currency: str = "USD",
    program_id: str = "standard",
    account: Plastic | None = None,
    product: str = "CLASSIC",
) -> Plastic:
    """A card; on another card's account when that is given."""
    card_id = str(uuid4())
    account_id = account.account_id if account else str(uuid4())
    if account is None:
        customer_id = str(uuid4())
        connection.execute(
            "insert into customer.customers (customer_id, country) values (%s, 'US')",
            (customer_id,),
        )
        connection.execute(
            "insert into card.card_accounts (account_id, customer_id, program_id, currency,"
            " credit_limit_minor, opened_on) values (%s, %s, %s, %s, %s, '2024-01-01')",
            (account_id, customer_id, program_id, currency, limit_minor),
        )
    connection.execute(
        "insert into card.cards (card_id, account_id, product, issued_on, expires_on)"
        " values (%s, %s, %s, '2024-01-01', %s)",
        (card_id, account_id, product, date(2034, 1, 1)),
    )
    return Plastic(card_id, account_id, currency)


def swipe(
    card: Plastic | str, at: datetime, amount_minor: int = 1_000, **changes: Any
) -> AuthorizationRequested:
    """A request at the moment, under a key of its own."""
    asked = {
        "card_id": card if isinstance(card, str) else card.card_id,
        "amount_minor": amount_minor,
        "currency": "USD" if isinstance(card, str) else card.currency,
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "US",
        "channel": "CHIP",
        **{k: v for k, v in changes.items() if k not in {"key", "deadline_at"}},
    }
    hashed = {k: v for k, v in asked.items() if not k.startswith("terminal")}
    return AuthorizationRequested(
        request_id=str(uuid4()),
        idempotency_key=changes.get("key") or str(uuid4()),
        request_hash=request_hash(**hashed),
        requested_at=at,
        deadline_at=at + timedelta(seconds=10),
        correlation_id="",
        **asked,
    )


def random_swipe(
    rng: random.Random,
    cards: Sequence[Plastic],
    at: datetime,
    approved: Mapping[str, Sequence[str]],
) -> AuthorizationRequested:
    """Whatever a day brings: small and large, near and far, in part, verified, raised."""
    card = rng.choice(cards)
    latitude, longitude = rng.choice([(40.7, -74.0)] * 9 + [(34.0, -118.2), (51.5, -0.1)])
    changes: dict[str, Any] = {
        "merchant_id": f"M-{rng.randrange(9)}",
        "mcc": rng.choice(["5411", "5812", "7995", "4829"]),
        "merchant_country": rng.choice(["US"] * 20 + ["CZ", "IR"]),
        "channel": rng.choice(["CHIP", "CONTACTLESS", "ECOMMERCE", "ATM"]),
        "network": rng.choice(["VISA", "MASTERCARD"]),
        "key": str(UUID(int=rng.getrandbits(128))),
        "partial_allowed": rng.random() < 0.2,
    }
    if rng.random() < 0.6:
        changes["terminal_latitude_e6"] = int(latitude * 1e6)
        changes["terminal_longitude_e6"] = int(longitude * 1e6)
    amount = rng.choice([99, 150, 1_000, 2_500, 40_000, 90_000])
    kind, raisable = rng.random(), approved.get(card.card_id, ())
    if kind < 0.05:
        changes |= {"message_kind": "VERIFICATION", "partial_allowed": False}
        amount = 0
    elif kind < 0.25 and raisable:
        changes |= {
            "message_kind": "INCREMENT",
            "original_key": rng.choice([*raisable, "no-such-key"]),
            "amount_is_total": rng.random() < 0.5,
        }
    return swipe(card, at, amount, **changes)
