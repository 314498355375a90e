"""Customers with sealed values for the access tests, and sessions that become other roles."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from oltp.privacy import Subject, Vault, sealed_person

VAULT = Vault({1: bytes(range(32))}, bytes(range(32, 64)))
TENANT = UUID("00000000-0000-0000-0000-000000000001")
CANARY = {
    "full_name": "Canaria Vogelsang",
    "email": "canaria.vogelsang@canary.example",
    "phone": "+420777123987",
    "national_id": "CANARY-845-77-1",
    "birth_date": "1979-04-23",
}


def new_customer(connection: psycopg.Connection, tenant: UUID = TENANT, **person: str) -> Subject:
    """A customer of the tenant with sealed values, its key, an account and a card."""
    subject = VAULT.new_subject(uuid4())
    row = {
        "customer_id": subject.customer_id,
        "tenant_id": tenant,
        "country": "CZ",
        **sealed_person(VAULT, subject, **person),
    }
    insert(connection, "customer.customers", row)
    insert(connection, "customer.subject_keys", subject.key_row())
    account, today = uuid4(), "2024-01-01"
    insert(
        connection,
        "card.card_accounts",
        {
            "account_id": account,
            "customer_id": subject.customer_id,
            "currency": "CZK",
            "credit_limit_minor": 1000,
            "opened_on": today,
        },
    )
    insert(
        connection,
        "card.cards",
        {
            "card_id": uuid4(),
            "account_id": account,
            "product": "CLASSIC",
            "issued_on": today,
            "expires_on": "2030-01-01",
        },
    )
    insert(
        connection,
        "customer.account_holders",
        {
            "account_holder_id": uuid4(),
            "account_id": account,
            "customer_id": subject.customer_id,
            "role": "OWNER",
        },
    )
    return subject


def insert(connection: psycopg.Connection, table: str, row: dict) -> None:
    names = [sql.Identifier(name) for name in row]
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(*table.split(".")),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        ),
        list(row.values()),
    )


def make_people(dsn: str) -> dict[str, Subject]:
    """Two customers of one tenant and one of another."""
    with psycopg.connect(dsn) as connection:
        other = uuid4()
        insert(connection, "customer.tenants", {"tenant_id": other, "name": "other"})
        return {
            "ada": new_customer(connection, **CANARY),
            "bob": new_customer(connection, email="bob@x.io", national_id="1"),
            "eve": new_customer(connection, other, email="eve@x.io"),
        }


def become(session: psycopg.Connection, role: str, **settings: str) -> psycopg.Connection:
    for name, value in settings.items():
        session.execute("select set_config(%s, %s, true)", (f"app.{name}", value))
    session.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
    return session


def count(session: psycopg.Connection, table: str) -> int:
    name = sql.Identifier(*table.split("."))
    return session.execute(sql.SQL("select count(*) from {}").format(name)).fetchone()[0]
