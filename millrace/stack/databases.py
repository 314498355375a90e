"""Databases, migrations and role passwords of the one Postgres cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from millrace.stack.layout import CHECKOUT

# Each database with the folder of its migrations (none: its program makes its own tables).
MIGRATIONS: dict[str, Path | None] = {
    "oltp": CHECKOUT / "oltp" / "migrations",
    "warehouse": CHECKOUT / "pipelines" / "migrations",
    "registry": None,
    "dagster": None,
}
ROLE_PASSWORDS: dict[str, str] = {
    "app_rw": "MILLRACE_APP_PASSWORD",
    "cdc": "MILLRACE_CDC_PASSWORD",
    "warehouse_rw": "MILLRACE_WAREHOUSE_PASSWORD",
    "analyst": "MILLRACE_ANALYST_PASSWORD",
    "registry": "MILLRACE_REGISTRY_PASSWORD",
    "migrator": "MILLRACE_MIGRATOR_PASSWORD",
    "portal": "MILLRACE_PORTAL_PASSWORD",
    "support": "MILLRACE_SUPPORT_PASSWORD",
    "pii_reader": "MILLRACE_PII_READER_PASSWORD",
    "auditor": "MILLRACE_AUDITOR_PASSWORD",
    "audit_sealer": "MILLRACE_AUDIT_SEALER_PASSWORD",
    "sar_officer": "MILLRACE_SAR_OFFICER_PASSWORD",
    "fair_lending": "MILLRACE_FAIR_LENDING_PASSWORD",
}


def settle(admin_dsn: str, passwords: Mapping[str, str]) -> list[str]:
    """Create the databases, migrate them and set the roles' passwords; idempotent.

    `admin_dsn` names the superuser (of any database). Returns the migrations applied now.
    """
    server = admin_dsn.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        _create_registry_role(connection)
        _create_databases(connection)
    applied = [
        f"{database}: {migration}"
        for database, folder in MIGRATIONS.items()
        if folder is not None and folder.is_dir()
        for migration in migrate(f"{server}/{database}", folder)
    ]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        _set_passwords(connection, passwords)
    return applied


def migrate(dsn: str, folder: Path) -> list[str]:
    """Apply the folder's pending migrations; returns their names."""
    import yoyo

    backend = yoyo.get_backend(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        migrations = yoyo.read_migrations(str(folder))
        with backend.lock(timeout=60):
            pending = backend.to_apply(migrations)
            backend.apply_migrations(pending)
            return [migration.id for migration in pending]
    finally:
        backend.connection.close()


def _create_registry_role(connection: psycopg.Connection) -> None:
    if not _exists(connection, "select from pg_roles where rolname = %s", "registry"):
        connection.execute("create role registry login")


def _create_databases(connection: psycopg.Connection) -> None:
    for name in MIGRATIONS:
        if not _exists(connection, "select from pg_database where datname = %s", name):
            owner = "registry" if name == "registry" else "postgres"
            connection.execute(
                sql.SQL("create database {} owner {}").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
            )


def _set_passwords(connection: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    for role, variable in ROLE_PASSWORDS.items():
        # In containers somebody may leave out a role that nobody uses; it cannot log in then.
        password = passwords.get(variable)
        if password and _exists(connection, "select from pg_roles where rolname = %s", role):
            connection.execute(
                sql.SQL("alter role {} password {}").format(
                    sql.Identifier(role), sql.Literal(password)
                )
            )


def _exists(connection: psycopg.Connection, query: LiteralString, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None
