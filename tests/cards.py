"""Cards to authorize against, made in the operational database, and requests for them."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

NEW_CUSTOMER = """
insert into customer.customers (customer_id, country) values (%s, 'CZ')
"""
NEW_KYC = """
insert into kyc.kyc_records (
    kyc_record_id, customer_id, verification_type, status, provider, risk_level, verified_at,
    expires_at)
values (%s, %s, 'IDENTITY', 'VERIFIED', 'test', 'LOW', now(), now() + interval '1 year')
"""
NEW_ACCOUNT = """
insert into card.card_accounts (account_id, customer_id, currency, credit_limit_minor, opened_on)
values (%s, %s, 'CZK', %s, current_date)
"""
NEW_CARD = """
insert into card.cards (card_id, account_id, product, issued_on, expires_on)
values (%s, %s, 'CLASSIC', current_date, current_date + 1000)
"""
NEW_LIMIT = """
insert into card.spend_limits (card_id, period, currency, count_limit)
values (%s, 'DAY', 'CZK', %s)
"""


@dataclass(frozen=True)
class UsableCard:
    """A usable card with an account and a verified customer of its own."""

    card_id: str
    account_id: str
    customer_id: str

    def body(self, amount_minor: int = 100, **changes: Any) -> dict[str, Any]:
        """A request for the card under a key of its own, with time for a busy machine."""
        return {
            "card_id": self.card_id,
            "amount_minor": amount_minor,
            "currency": "CZK",
            "merchant_id": "M-1",
            "mcc": "5411",
            "merchant_country": "CZ",
            "channel": "CHIP",
            "network_transaction_id": f"T-{uuid.uuid4()}",
            "deadline_ms": 10_000,
            **changes,
        }


def new_card(
    dsn: str, credit_limit_minor: int = 10_000_000, daily_count_limit: int | None = None
) -> UsableCard:
    """Make a card; capture carries it on like any other."""
    card = UsableCard(*(str(uuid.uuid4()) for _ in range(3)))
    with psycopg.connect(dsn) as connection:
        connection.execute(NEW_CUSTOMER, (card.customer_id,))
        connection.execute(NEW_KYC, (str(uuid.uuid4()), card.customer_id))
        connection.execute(NEW_ACCOUNT, (card.account_id, card.customer_id, credit_limit_minor))
        connection.execute(NEW_CARD, (card.card_id, card.account_id))
        if daily_count_limit is not None:
            connection.execute(NEW_LIMIT, (card.card_id, daily_count_limit))
    return card


def query(dsn: str, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement, arguments).fetchall()


def eventually(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for the condition; fail when the time is over."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"not so within {within_s} s"
        time.sleep(0.2)
