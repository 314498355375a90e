"""What the commands about rules share: the database, rules by their name, a moment by its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import typer

from millrace.current import operational_dsn
from oltp import rules
from streams.authorization.rules import RuleSet
from streams.authorization.ruleset_source import from_file, from_row


@contextmanager
def database() -> Iterator[psycopg.Connection]:
    """A connection as the application; what is wrong ends in one line."""
    try:
        with psycopg.connect(operational_dsn(), autocommit=True, connect_timeout=5) as connection:
            yield connection
    except (ValueError, LookupError, OSError, psycopg.Error) as error:
        said = str(error.args[0] if isinstance(error, LookupError) and error.args else error)
        typer.echo(f"millrace: {said.strip()}", err=True)
        raise typer.Exit(1) from None


def rule_set(connection: psycopg.Connection, name: str | None) -> RuleSet:
    """A file when there is one of that name, else a stored version; without a name what decides."""
    if name is None:
        version = rules.active(connection)
    elif name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return from_file(Path(name))
    else:
        version = rules.version(connection, name)
    return from_row(version.version, version.document)


def moment(text: str) -> datetime:
    """A day or a moment in ISO 8601, UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day or moment: write 2026-11-30T10:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
