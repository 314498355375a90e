"""What a live change is made with: one transaction, a source of chance, and the keys of people."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg

from oltp import outbox
from oltp.privacy import Vault


@dataclass(frozen=True)
class Scene:
    """The transaction of one change. Without a vault no personal value can be written."""

    connection: psycopg.Connection
    chance: random.Random
    vault: Vault | None = None

    def any(self, query: LiteralString, *values: object) -> Any:
        """The first column of one of the rows that a query gives; None without rows."""
        found = self.connection.execute(query, values).fetchall()
        return self.chance.choice(found)[0] if found else None

    def one(self, query: LiteralString, *values: object) -> tuple[Any, ...] | None:
        """The first row of a query."""
        return self.connection.execute(query, values).fetchone()

    def do(self, statement: LiteralString, *values: object) -> int:
        """How many rows a statement changed."""
        return self.connection.execute(statement, values).rowcount

    def announce(self, event: str, aggregate: UUID, **payload: object) -> None:
        """Let the event leave with this transaction."""
        outbox.announce(
            self.connection,
            [
                outbox.Event(
                    type=f"credit.{event}",
                    aggregate_id=aggregate,
                    payload=payload,
                    occurred_at=datetime.now(UTC),
                    correlation_id=str(uuid4()),
                )
            ],
        )

    def add(self, table: LiteralString, row: Mapping[str, Any]) -> int:
        """One new row."""
        names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, row))
        places = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(row))
        statement = psycopg.sql.SQL("insert into {} ({}) values ({})").format(
            psycopg.sql.Identifier(*table.split(".")), names, places
        )
        return self.connection.execute(statement, tuple(row.values())).rowcount
