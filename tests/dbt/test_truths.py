"""Singular tests have teeth: each passes on the small bank and fails once its truth is broken."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

DBT = Path(__file__).parent.parent.parent / "dbt"
# What breaks each truth, in one statement.
BROKEN_BY = {
    "assert_account_totals_are_provable_from_ledger":
        "update gold_credit.mart_account_balances set held_difference_minor = 1",
    "assert_credit_summary_adds_up_to_the_credits":
        "update gold_credit.mart_credit_summary set outstanding_principal_minor = 3 * "
        "outstanding_principal_minor",
    "assert_declines_by_reason_are_all_declines":
        "delete from gold_credit.mart_declines_daily where reason_code = 'UNKNOWN_CARD'",
    "assert_every_credit_is_in_one_bucket":
        "delete from gold_credit.mart_delinquency_buckets where bucket = '60-89'",
    "assert_ledger_entries_add_up":
        "update silver.ledger_postings set amount_minor = amount_minor + 1 "
        "where direction = 'CREDIT'",
    "assert_no_fact_is_multiplied_or_lost":
        "insert into gold_credit.fct_payments select * from gold_credit.fct_payments limit 1",
    "assert_principal_is_conserved":
        "update silver.active_credits set outstanding_principal_minor = 1 "
        "where status = 'DELINQUENT' and observed_through is null",
}  # fmt: skip


@pytest.fixture
def scratch(built_warehouse: str) -> Iterator[psycopg.Connection]:
    """A connection whose changes are undone."""
    with psycopg.connect(built_warehouse) as connection:
        yield connection
        connection.rollback()


def test_every_truth_is_tried_here() -> None:
    assert {path.stem for path in (DBT / "tests").glob("*.sql")} == BROKEN_BY.keys()


@pytest.mark.parametrize("truth", sorted(BROKEN_BY))
def test_a_broken_truth_is_found(truth: str, scratch: psycopg.Connection, dbt_target: Path) -> None:
    query = (dbt_target / "compiled/millrace/tests" / f"{truth}.sql").read_text()
    assert scratch.execute(query).fetchall() == []
    scratch.execute(BROKEN_BY[truth])
    assert scratch.execute(query).fetchall() != []
