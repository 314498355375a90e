"""A migrated operational database of its own for each test module, on the session's Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from oltp.audit import canonical
from tests.oltp.auditing import Audited, copy_of
from tests.oltp.valid_rows import ValidRows

MIGRATIONS = Path(__file__).parents[2] / "oltp" / "migrations"


@dataclass(frozen=True)
class Database:
    """One database: as its owner, and as the application sees it."""

    admin: str
    app: str

    def one(self, query: str, *values: object) -> tuple:
        """The first row of a query, as the owner."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            return connection.execute(query, values).fetchone()


def migrate(dsn: str) -> int:
    """Apply what is missing; how many migrations that was."""
    backend = get_backend(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    missing = backend.to_apply(read_migrations(str(MIGRATIONS)))
    with backend.lock():
        backend.apply_migrations(missing)
    backend.connection.close()
    return len(missing)


@pytest.fixture(scope="session")
def empty_database(postgres_only) -> Callable[..., Database]:
    """Makes databases, empty or like another; they go with the session's Postgres."""
    env = postgres_only.env

    def make(like: Database | None = None) -> Database:
        name = f"test_{uuid4().hex[:12]}"
        template = urlsplit(like.admin).path[1:] if like else "template0"
        with psycopg.connect(env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True) as connection:
            connection.execute(f'create database "{name}" template "{template}"')
        dsns = (env["MILLRACE_OLTP_ADMIN_DSN"], env["MILLRACE_OLTP_DSN"])
        return Database(*(urlsplit(dsn)._replace(path=f"/{name}").geturl() for dsn in dsns))

    return make


@pytest.fixture(scope="module")
def database(empty_database) -> Database:
    """A migrated database that the tests of one module share."""
    made = empty_database()
    migrate(made.admin)
    return made


@pytest.fixture(scope="session")
def migrated(empty_database) -> Database:
    """A migrated database that nobody touches, to make copies of."""
    made = empty_database()
    migrate(made.admin)
    return made


@pytest.fixture
def empty_migrated(empty_database, migrated) -> Database:
    """A migrated database of one test's own."""
    return empty_database(migrated)


@pytest.fixture
def rows(database) -> Iterator[ValidRows]:
    """A session of the application that is rolled back afterwards."""
    with psycopg.connect(database.app) as connection:
        yield ValidRows(connection)
        connection.rollback()


@pytest.fixture(scope="module")
def audited(database, tmp_path_factory) -> Audited:
    """A copy of the migrated database whose audit one module may break."""
    return copy_of(database.admin, tmp_path_factory.mktemp("audit"))


@pytest.fixture
def connection(audited):
    """What a test does is undone after it."""
    with canonical.connect(audited.admin) as opened:
        yield opened
        opened.rollback()
