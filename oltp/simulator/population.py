"""Customers with their checks, accounts and cards. Pure: a number and a seed make one customer."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from psycopg.types.json import Jsonb

from oltp.schedule import months_after
from schemas import codes

NAMESPACE = UUID("b8f4f2f0-8c5e-5d0c-8f0b-2a5a1d7e9c33")
Row = dict[str, Any]
# Parents first.
TABLES = (
    "customer.customers",
    "kyc.kyc_records",
    "card.card_accounts",
    "customer.account_holders",
    "card.cards",
    "credit.applications",
    "credit.offers",
    "credit.active_credits",
    "credit.payments",
)
CURRENCY = {"US": "USD", "GB": "GBP", "DE": "EUR", "FR": "EUR", "JP": "JPY"}
# What a thousand dollars are about, in minor units.
THOUSAND_MINOR = {"USD": 100_000, "EUR": 90_000, "GBP": 80_000, "JPY": 150_000}
GIVEN = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Tony", "Frances", "Ken")
FAMILY = ("Müller", "O'Brien", "Tanaka", "Dupont", "Smith", "Nguyen", "García", "Novák", "Sato")


@dataclass
class People:
    """Rows by table, and the entries that make the accounts' posted totals."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    entries: list[Row] = field(default_factory=list)

    def add(self, table: str, row: Row) -> None:
        """One more row."""
        self.rows[table].append(row)


@dataclass(frozen=True)
class Maker:
    """What one customer is made with: a source of chance of its own, so that order is no matter."""

    seed: int
    number: int
    today: date

    @property
    def chance(self) -> random.Random:
        """Starts anew on each call; take it once."""
        return random.Random(f"{self.seed}/{self.number}")

    def id(self, kind: str, part: int = 0) -> UUID:
        """The id of this customer's `part`th thing of a kind."""
        return uuid5(NAMESPACE, f"{self.seed}/{self.number}/{kind}/{part}")

    def reference(self, kind: str, part: int = 0) -> str:
        """How `external_ref` names it."""
        return f"sim:{self.seed}:{kind}:{self.number}:{part}"

    def ago(self, days: float) -> datetime:
        """That long before today's midnight, UTC."""
        midnight = datetime(self.today.year, self.today.month, self.today.day, tzinfo=UTC)
        return midnight - timedelta(days=days)


def populate(people: People, maker: Maker, chance: random.Random) -> str:
    """Add one customer with checks, account and cards; gives the currency."""
    country = chance.choice(tuple(CURRENCY))
    currency = CURRENCY[country]
    given, family = chance.choice(GIVEN), chance.choice(FAMILY)
    people.add(
        "customer.customers",
        {
            "customer_id": maker.id("customer"),
            "external_ref": maker.reference("customer"),
            "full_name": f"{given} {family}",
            "email": f"{given.lower()}.{maker.number}@example.com",
            "birth_date": maker.today - timedelta(days=chance.randint(18 * 366, 80 * 365)),
            "country": country,
            "status": _weighted(chance, {"ACTIVE": 96, "SUSPENDED": 3, "CLOSED": 1}),
        },
    )
    _checks(people, maker, chance)
    _account(people, maker, chance, currency)
    _cards(people, maker, chance, currency)
    return currency


def _checks(people: People, maker: Maker, chance: random.Random) -> None:
    kinds = ["IDENTITY"] + (["ADDRESS"] if chance.random() < 0.4 else [])
    risk = _weighted(chance, {"LOW": 80, "MEDIUM": 15, "HIGH": 5})
    if risk == "HIGH":
        kinds.append("ENHANCED")
    outcomes = {"VERIFIED": 89, "EXPIRED": 4, "PENDING": 4, "REJECTED": 3}
    for part, kind in enumerate(kinds):
        outcome = _weighted(chance, outcomes if kind == "IDENTITY" else {"VERIFIED": 1})
        verified_at = None
        if outcome == "VERIFIED":
            verified_at = maker.ago(chance.uniform(10, 700))
        elif outcome == "EXPIRED":
            verified_at = maker.ago(chance.uniform(1100, 1400))
        people.add(
            "kyc.kyc_records",
            {
                "kyc_record_id": maker.id("kyc", part),
                "customer_id": maker.id("customer"),
                "verification_type": kind,
                "status": "VERIFIED" if outcome == "EXPIRED" else outcome,
                "provider": chance.choice(("veritas", "idcheck")),
                "risk_level": risk,
                "verified_at": verified_at,
                "expires_at": verified_at + timedelta(days=1095) if verified_at else None,
                "details": Jsonb(
                    {"score": chance.randint(1, 100), "documents": ["passport", "utility bill"]}
                ),
            },
        )


def _account(people: People, maker: Maker, chance: random.Random, currency: str) -> None:
    thousand = THOUSAND_MINOR[currency]
    account_id = maker.id("account")
    people.add(
        "card.card_accounts",
        {
            "account_id": account_id,
            "customer_id": maker.id("customer"),
            "external_ref": maker.reference("account"),
            "currency": currency,
            "credit_limit_minor": chance.choice((1, 2, 5, 10, 20)) * thousand,
            "status": _weighted(chance, {"ACTIVE": 96, "FROZEN": 3, "CLOSED": 1}),
            "opened_on": maker.today - timedelta(days=chance.randint(60, 2000)),
        },
    )
    for part in range(chance.randint(0, 6)):
        is_payment = part % 3 == 2
        people.entries.append(
            {
                "entry_id": maker.id("entry", part),
                "account_id": account_id,
                "entry_type": codes.EntryType.PAYMENT if is_payment else codes.EntryType.PURCHASE,
                "bucket": codes.Bucket.POSTED,
                "direction": codes.Direction.CREDIT if is_payment else codes.Direction.DEBIT,
                "amount_minor": chance.randint(thousand // 500, thousand // 10),
                "currency": currency,
                "effective_at": maker.ago(chance.uniform(1, 50)),
                "external_ref": maker.reference("entry", part),
            }
        )
    holders = {maker.number: codes.HolderRole.OWNER}
    # Only of those made before, so that the row it refers to is there.
    if maker.number > 0 and chance.random() < 0.15:
        holders[chance.randrange(maker.number)] = codes.HolderRole.AUTHORIZED_USER
    for part, (number, role) in enumerate(holders.items()):
        people.add(
            "customer.account_holders",
            {
                "account_holder_id": maker.id("holder", part),
                "account_id": account_id,
                "customer_id": Maker(maker.seed, number, maker.today).id("customer"),
                "role": role,
            },
        )


def _cards(people: People, maker: Maker, chance: random.Random, currency: str) -> None:
    for part in range(_weighted(chance, {1: 70, 2: 30})):
        issued_on = maker.today - timedelta(days=chance.randint(30, 1400))
        if chance.random() < 0.04:
            issued_on = maker.today - timedelta(days=chance.randint(1500, 1900))
        has_limits = chance.random() < 0.2
        people.add(
            "card.cards",
            {
                "card_id": maker.id("card", part),
                "account_id": maker.id("account"),
                "external_ref": maker.reference("card", part),
                "product": _weighted(chance, {"CLASSIC": 70, "GOLD": 20, "JUNIOR": 10}),
                "status": _weighted(chance, {"ACTIVE": 94, "LOST": 2, "STOLEN": 2, "BLOCKED": 2}),
                "issued_on": issued_on,
                "expires_on": months_after(issued_on, 48),
                "daily_count_limit": chance.choice((3, 10, 20)) if has_limits else None,
                "daily_amount_limit_minor": (
                    THOUSAND_MINOR[currency] // chance.choice((1, 2, 4)) if has_limits else None
                ),
            },
        )


def _weighted(chance: random.Random, weights: dict[Any, int]) -> Any:
    return chance.choices(tuple(weights), tuple(weights.values()))[0]


def everybody(customers: int, seed: int, today: date) -> Iterable[Maker]:
    """One maker a customer."""
    return (Maker(seed, number, today) for number in range(customers))
