"""A migrated database of its own for each module that decides on a real Postgres."""

from __future__ import annotations

import pytest

from tests.oltp.conftest import Database, empty_database, migrate

__all__ = ["empty_database"]


@pytest.fixture(scope="module")
def database(empty_database) -> Database:
    made = empty_database()
    migrate(made.admin)
    return made
