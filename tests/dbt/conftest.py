"""One warehouse with a small bank in it, built by dbt once: what the tests of the marts read."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from schemas import contract
from tests.dbt.small_bank import a_small_bank
from tests.dbt.warehouse import dbt, started

AS_OF = "2026-03-15"


@pytest.fixture(scope="session")
def empty_warehouse() -> Iterator[str]:
    with started() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the build leaves the SQL that it ran."""
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture(scope="session")
def built_warehouse(empty_warehouse: str, dbt_target: Path) -> str:
    """The warehouse after a real `dbt build` as of 15 March 2026."""
    with psycopg.connect(empty_warehouse) as connection:
        connection.execute(
            "insert into control.cuts (lsn, snapshot, taken_at, totals) values "
            "(900, '5:5:', '2026-03-15T08:00:00Z', '{}')"
        )
        connection.execute("insert into control.published_cut (cut_id, rows) values (1, 0)")
        connection.execute(
            "insert into control.published (entity, tick, rows, cut_id)"
            " select unnest(%s::text[]), 1, 0, 1",
            ([c.entity for c in contract.load_published()],),
        )
        a_small_bank(connection)
    done = dbt(empty_warehouse, dbt_target, "build", "--vars", f"{{as_of: {AS_OF}}}")
    assert done.returncode == 0, done.stdout[-4000:]
    return empty_warehouse
