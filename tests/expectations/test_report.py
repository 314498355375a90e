"""Results are kept as rows and as pages, and gold is judged where it was built."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from expectations import catalog, report, run
from tests.dbt.small_bank import a_small_bank
from tests.dbt.warehouse import dbt, started
from tests.expectations.increments import row, table, valid


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started() as dsn:
        with psycopg.connect(dsn) as connection:
            a_small_bank(connection)
        target = tmp_path_factory.mktemp("dbt")
        done = dbt(dsn, target, "run", "--vars", "{as_of: 2026-03-15}")
        assert done.returncode == 0, done.stdout[-3000:]
        yield dsn


def test_results_are_added_to_the_warehouse(warehouse: str) -> None:
    bad = table("payments", row("payments", 1), row("payments", 2, status="LATE"))
    results = [run.check("payments", bad), run.check("holds", valid("holds", 0))]
    with psycopg.connect(warehouse) as connection:
        cut = "insert into control.cuts (lsn, snapshot, taken_at, totals) values " \
              "(1, '1:1:', now(), '{}') returning cut_id"  # fmt: skip
        (cut_id,) = connection.execute(cut).fetchone()  # type: ignore[misc]
    written = report.write(warehouse, "run-1", results, cut_id)
    assert written == len(results[0].outcomes) + 1
    with psycopg.connect(warehouse) as connection:
        failed = connection.execute(
            "select entity, suite, expectation, column_name, severity, evaluated_rows,"
            " unexpected_rows, details -> 'sample' -> 0 ->> 'status', cut_id"
            " from control.quality_results where not success"
        ).fetchall()
        empty = connection.execute(
            "select expectation, success, evaluated_rows from control.quality_results"
            " where entity = 'holds'"
        ).fetchall()
    assert failed == [
        ("payments", "silver.payments", "status.code", "status", "error", 2, 1, "LATE", cut_id)
    ]
    assert empty == [(report.NOTHING_TO_CHECK, True, 0)]


def test_gold_is_judged_by_its_own_truths(warehouse: str) -> None:
    results = {result.entity: result for result in run.check_gold(warehouse)}
    assert results.keys() == {suite.mart for suite in catalog.gold()}
    assert not any(result.blocked for result in results.values())
    assert [o.name for o in results["mart_kyc_coverage"].failures] == ["nearly_everyone_is_covered"]
    with psycopg.connect(warehouse) as connection:
        connection.execute(
            "update gold_credit.mart_account_balances set posted_difference_minor = 1"
            " where currency = 'USD'"
        )
    (balances,) = run.check_gold(warehouse, {"mart_account_balances"})
    assert [(o.name, o.unexpected) for o in balances.failures] == [
        ("posted_is_what_the_ledger_says", 1)
    ]


def test_data_docs_show_the_last_runs_and_mask_personal_data(tmp_path: Path) -> None:
    secret = "mallory at example.org"
    results = [run.check("customers", table("customers", row("customers", 2, email=secret)))]
    for number in range(report.RUNS_KEPT + 2):
        page = report.write_docs(tmp_path, f"run-{number}", results)
    pages = list(page.parent.rglob("customers.html"))
    assert "silver.customers" in page.read_text()
    assert len([p for p in pages if "validations" in p.parts]) == report.RUNS_KEPT
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and secret in p.read_text("latin-1")]


def test_docs_of_a_run_without_rows_still_have_a_page_to_open(tmp_path: Path) -> None:
    assert report.write_docs(tmp_path, "idle", [run.check("holds", valid("holds", 0))]).is_file()
