"""A migrated database of its own for each module that asks for one, and a worker's desk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from millrace.stack import Stack
from streams import ledger, store
from streams.authorization.ruleset_source import RuleSetSource
from streams.ledger import Ledger
from tests.oltp.conftest import Database, empty_database, migrate
from tests.streams.authorization.agent_desk import Desk

__all__ = ["empty_database"]


@pytest.fixture(scope="module")
def database(empty_database) -> Database:
    made = empty_database()
    migrate(made.admin)
    return made


@pytest.fixture
async def desk(postgres_only: Stack, redis_url: str) -> AsyncIterator[Desk]:
    dsn = postgres_only.env["MILLRACE_OLTP_DSN"]
    pool = ledger.pool(dsn)
    await pool.open()
    client = store.connect(redis_url, 2000)
    await client.flushall()
    rules = RuleSetSource(pool)
    await rules.refresh()
    yield Desk(dsn, client, None, Ledger(pool), rules).another()  # type: ignore[arg-type]
    await client.aclose()
    await pool.close()
