"""Customers, accounts and credits to move money between, made as the application makes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

NOW = datetime.now(UTC)


class Bank:
    """One database, its rows made by app_rw and broken by the owner."""

    def __init__(self, database) -> None:
        self.database = database

    def app(self, query: str, *values: object) -> tuple[Any, ...] | None:
        """The first row of a query as the application sends it, committed."""
        return self._run(self.database.app, query, values)

    def owner(self, query: str, *values: object) -> tuple[Any, ...] | None:
        """The same as the owner of everything."""
        return self._run(self.database.admin, query, values)

    def broken(self, query: str, *values: object) -> None:
        """A write that goes past every trigger and key, as a damaged disk would."""
        with psycopg.connect(self.database.admin) as connection:
            connection.execute("set local session_replication_role = replica")
            connection.execute(query, values)

    def account(self, limit: int = 100_000, currency: str = "USD") -> UUID:
        customer, account = uuid4(), uuid4()
        self.app(
            "insert into customer.customers (customer_id, country) values (%s, 'US')", customer
        )
        self.app(
            "insert into card.card_accounts (account_id, customer_id, currency,"
            " credit_limit_minor, opened_on) values (%s, %s, %s, %s, '2024-01-01')",
            account, customer, currency, limit,
        )  # fmt: skip
        return account

    def credit(self, principal: int = 100_000, currency: str = "USD") -> UUID:
        customer, credit = uuid4(), uuid4()
        self.app(
            "insert into customer.customers (customer_id, country) values (%s, 'US')", customer
        )
        self.app(
            "insert into credit.active_credits (credit_id, customer_id, credit_number,"
            " principal_minor, currency, interest_rate, term_months, monthly_payment_minor, status,"
            " disbursed_on, matures_on)"
            " values (%s, %s, %s, %s, %s, 0.1, 12, 100, 'CURRENT', '2025-01-01', '2026-01-01')",
            credit, customer, str(credit), principal, currency,
        )  # fmt: skip
        return credit

    def hold(self, account: UUID, amount: int, expires_at: datetime | None = None) -> UUID:
        """A hold as card.decide_and_hold makes it, on a card of its own; ends when it is told."""
        card = uuid4()
        self.app(
            "insert into card.cards (card_id, account_id, product, issued_on, expires_on)"
            " values (%s, %s, 'CLASSIC', '2024-01-01', '2034-01-01')",
            card, account,
        )  # fmt: skip
        (currency,) = self.owner(
            "select currency from card.card_accounts where account_id = %s", account
        )
        request = {
            "request_id": str(uuid4()), "authorization_id": str(uuid4()), "hold_id": str(uuid4()),
            "entry_id": str(uuid4()), "idempotency_key": str(uuid4()), "request_hash": "a" * 64,
            "card_id": str(card), "account_id": str(account), "amount_minor": amount,
            "currency": currency, "merchant_id": "M-1", "mcc": "5411", "merchant_country": "US",
            "channel": "CHIP", "decision": "APPROVED", "response_code": "00",
            "reason_code": "APPROVED", "rule_hits": [], "facts": {}, "rule_version": "v1",
            "requested_at": NOW.isoformat(), "decided_at": NOW.isoformat(),
            "message_kind": "PURCHASE", "amount_is_total": False, "partial_allowed": False,
            "network": "DOMESTIC",
        }  # fmt: skip
        with psycopg.connect(self.database.app, row_factory=dict_row) as connection:
            answer = connection.execute(
                "select * from card.decide_and_hold(%s)", (json.dumps([request]),)
            ).fetchone()
        assert answer
        assert answer["decision"] == "APPROVED", answer
        if expires_at:
            self.owner(
                "update card.holds set expires_at = %s where hold_id = %s",
                expires_at, request["hold_id"],
            )  # fmt: skip
        return UUID(request["hold_id"])

    def balances(self, account: UUID) -> tuple[int, int]:
        """Posted and held."""
        return self.owner(
            "select posted_minor, held_minor from card.card_accounts where account_id = %s", account
        )

    def status(self, hold: UUID) -> str:
        return self.owner("select status from card.holds where hold_id = %s", hold)[0]

    def found(self, control: str) -> list[str]:
        """The problems that a control view lists."""
        with psycopg.connect(self.database.admin) as connection:
            rows = connection.execute(f"select problem from ledger.control_{control}").fetchall()
        return [problem for (problem,) in rows]

    @staticmethod
    def _run(dsn: str, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        with psycopg.connect(dsn) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchone() if cursor.description else None
