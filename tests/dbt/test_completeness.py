"""A mart says what it was built through, also with a table held back or when it was not rebuilt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.dbt.warehouse import dbt

MARTS = Path(__file__).parent.parent.parent / "dbt" / "models" / "marts"
OLDER = "payments"


def completeness(dsn: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        rows = connection.execute("select * from gold_credit.mart_completeness").fetchall()
    return {row["mart"].partition(".")[2]: row for row in rows}


def test_every_mart_says_the_cut_it_is_complete_through(built_warehouse: str) -> None:
    found = completeness(built_warehouse)
    assert set(found) == {p.stem for p in MARTS.rglob("*.sql")} - {"mart_completeness"}
    assert {(r["cut_id"], r["complete_through_lsn"]) for r in found.values()} == {(1, 900)}
    assert all(r["is_one_cut"] and r["is_newest"] and not r["behind"] for r in found.values())
    # Through the tables between staging and marts, too.
    assert found["mart_delinquency_buckets"]["reads"] == "active_credits, payments"
    assert found["fct_payments"]["certified_cut_id"] is None


@pytest.fixture
def second_cut(built_warehouse: str) -> Iterator[str]:
    """A second cut is published, and payments were held back from it."""
    with psycopg.connect(built_warehouse, autocommit=True) as connection:
        connection.execute(
            "insert into control.cuts (lsn, snapshot, taken_at, totals)"
            " overriding system value values (950, '6:6:', '2026-03-15T09:00:00Z', '{}')"
        )
        connection.execute("insert into control.published_cut (cut_id, rows) values (2, 0)")
        connection.execute("update control.published set cut_id = 2 where entity <> %s", (OLDER,))
        connection.execute(
            "insert into control.certified (entity, cut_id) select entity, 1 from control.published"
        )
        yield built_warehouse
        connection.execute("update control.published set cut_id = 1")
        connection.execute(
            "update control.mart_builds set cut_id = 1, newest_cut_id = 1, behind = '{}'"
        )
        for table in ("certified", "published_cut", "cuts"):
            where = "true" if table == "certified" else "cut_id = 2"
            owner = built_warehouse.replace("warehouse_rw@", "postgres@")
            with psycopg.connect(owner) as admin:
                admin.execute(f"delete from control.{table} where {where}")


def test_a_mart_with_a_table_behind_or_that_was_not_rebuilt_says_so(
    second_cut: str, dbt_target: Path
) -> None:
    marts = "fct_authorizations mart_authorizations_daily fct_payments"
    built = dbt(second_cut, dbt_target, "run", "--select", marts)
    assert built.returncode == 0, built.stdout[-4000:]
    found = completeness(second_cut)
    whole, mixed, old = (
        found[name] for name in ("mart_authorizations_daily", "fct_payments", "mart_portfolio")
    )
    assert (whole["cut_id"], whole["is_one_cut"], whole["is_newest"]) == (2, True, True)
    assert (mixed["cut_id"], mixed["newest_cut_id"], mixed["behind"]) == (1, 2, OLDER)
    assert not mixed["is_one_cut"]
    assert (old["cut_id"], old["is_one_cut"], old["is_newest"]) == (1, True, False)
    assert whole["certified_cut_id"] == 1


def test_a_cut_that_stands_moves_what_its_marts_are_complete_through(built_warehouse: str) -> None:
    stands = "update control.cuts set unchanged_through_lsn = %s, unchanged_through = %s"
    with psycopg.connect(built_warehouse, autocommit=True) as connection:
        connection.execute(stands, (940, "2026-03-15T08:59:00Z"))
        found = completeness(built_warehouse)["mart_portfolio"]
        connection.execute(stands, (None, None))
    assert (found["cut_id"], found["complete_through_lsn"]) == (1, 940)
    assert f"{found['complete_through']:%H:%M}" == "08:59"
