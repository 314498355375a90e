"""Versions of the authorization rules: what there is, and each step of a version's life.

Every step is one transaction in the database (card.draft_rules and its siblings, 0018). One that is
not possible as things stand is refused, with what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

VERSIONS = """
select v.version, v.status, v.document, v.document_sha256, v.created_by, v.created_at,
    c.changed_by, c.changed_at, c.reason
from card.rule_versions v
left join lateral (
    select c.changed_by, c.changed_at, c.reason from card.rule_changes c
    where c.version = v.version order by c.changed_at desc limit 1
) c on true
"""
NEWEST_FIRST = (
    " order by array_position(array['ACTIVE', 'SHADOW', 'DRAFT', 'RETIRED'], v.status),"
    " c.changed_at desc"
)
CHANGES = """
select c.changed_at, c.from_status, c.to_status, c.changed_by, c.reason
from card.rule_changes c where c.version = %s order by c.changed_at
"""


class RulesError(ValueError):
    """A step that is not possible, with what to do instead."""


@dataclass(frozen=True)
class Version:
    """A version of the rules as it stands, with its last change."""

    version: str
    status: str
    document: Mapping[str, Any]
    document_sha256: str
    created_by: str
    created_at: datetime
    changed_by: str | None
    changed_at: datetime | None
    reason: str | None


@dataclass(frozen=True)
class Change:
    """A step of a version's life."""

    changed_at: datetime
    from_status: str | None
    to_status: str
    changed_by: str
    reason: str


def versions(connection: psycopg.Connection) -> list[Version]:
    """Every version: what decides first, then what watches, then drafts."""
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(VERSIONS + NEWEST_FIRST).fetchall()


def version(connection: psycopg.Connection, name: str) -> Version:
    """One version; RulesError naming those there are when it is not among them."""
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        found = cursor.execute(VERSIONS + " where v.version = %s", (name,)).fetchone()
    if found is None:
        known = ", ".join(v.version for v in versions(connection)) or "none"
        raise RulesError(f"no version of the rules is called {name!r}; there are {known}")
    return found


def active(connection: psycopg.Connection) -> Version:
    """The version that decides."""
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        found = cursor.execute(VERSIONS + " where v.status = 'ACTIVE'").fetchone()
    if found is None:
        raise RulesError("no version of the rules is active: has the database been migrated?")
    return found


def changes(connection: psycopg.Connection, name: str) -> list[Change]:
    """The life of a version so far."""
    with connection.cursor(row_factory=class_row(Change)) as cursor:
        return cursor.execute(CHANGES, (name,)).fetchall()


def draft(
    connection: psycopg.Connection, name: str, document: Mapping[str, Any], by: str, reason: str
) -> None:
    """Store a document that the caller has parsed, as a new version or over its own draft."""
    _step(
        connection,
        "select card.draft_rules(%s, %s, %s, %s)",
        name, Jsonb(document), by, reason,
    )  # fmt: skip


def shadow(connection: psycopg.Connection, name: str, by: str, reason: str) -> None:
    """Have a version evaluated beside the one that decides."""
    _step(connection, "select card.shadow_rules(%s, %s, %s)", name, by, reason)


def promote(
    connection: psycopg.Connection, name: str, by: str, reason: str, expected: str | None = None
) -> str:
    """Let a version decide; says in place of which. Refused when that is not `expected`."""
    statement: LiteralString = "select card.promote_rules(%s, %s, %s, %s)"
    return str(_step(connection, statement, name, by, reason, expected))


def roll_back(connection: psycopg.Connection, by: str, reason: str, name: str | None = None) -> str:
    """Back to the version that decided before, or to any that ever did; says to which."""
    return str(_step(connection, "select card.roll_back_rules(%s, %s, %s)", by, reason, name))


def retire(connection: psycopg.Connection, name: str, by: str, reason: str) -> None:
    """Take a draft or a version in shadow out of the way."""
    _step(connection, "select card.retire_rules(%s, %s, %s)", name, by, reason)


def _step(connection: psycopg.Connection, statement: LiteralString, *arguments: Any) -> Any:
    try:
        with connection.transaction():
            row = connection.execute(statement, arguments).fetchone()
    except psycopg.Error as error:
        if error.sqlstate not in {"MR010", "23514"}:
            raise
        hint = error.diag.message_hint
        raise RulesError(f"{error.diag.message_primary}.{f' {hint}' if hint else ''}") from None
    return row[0] if row else None
