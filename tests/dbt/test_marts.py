"""The marts over a small bank whose figures were added up by hand."""

from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.dbt.warehouse import key


@pytest.fixture(scope="module")
def rows(built_warehouse: str) -> Any:
    with psycopg.connect(built_warehouse) as connection:
        yield lambda query: connection.execute(query).fetchall()


def test_a_day_of_authorizations_has_rates_by_count_and_amount_and_latency(rows: Any) -> None:
    found = rows("""select currency, authorizations, approved, amount_minor,
        approved_amount_minor, approval_rate_by_count, approval_rate_by_amount, latency_p50_ms
        from gold_credit.mart_authorizations_daily order by decided_date""")
    assert found == [
        ("USD", 7, 4, 24300, 4800, Decimal("0.571429"), Decimal("0.197531"), 30.0),
        ("CZK", 1, 1, 0, 0, Decimal("1.000000"), None, 5.0),
    ]
    kinds = rows("""select decided_date::text, partly_approved, verifications, increments,
        complete_through_lsn from gold_credit.mart_authorizations_daily order by 1""")
    assert kinds == [("2026-03-14", 1, 0, 1, 900), ("2026-03-15", 0, 1, 0, 900)]


def test_a_partial_approval_counts_with_its_part_and_an_increment_shows_the_hold_it_raised(
    rows: Any,
) -> None:
    found = rows("""select authorization_id, message_kind, amount_minor, approved_amount_minor,
        is_partly_approved, hold_status, captured_amount_minor
        from gold_credit.fct_authorizations where is_approved order by 1""")
    assert found == [
        (key(1), "PURCHASE", 1000, 1000, False, "PENDING", 0),
        (key(2), "PURCHASE", 2000, 2000, False, "PARTIALLY_CAPTURED", 800),
        (key(6), "VERIFICATION", 0, 0, False, None, None),
        (key(7), "PURCHASE", 4000, 1500, True, "PENDING", 0),
        (key(8), "INCREMENT", 300, 300, False, "PENDING", None),
    ]
    assert rows("""select sum(approved_amount_minor)
        from gold_credit.fct_authorizations where not is_approved""") == [(0,)]


def test_declines_are_counted_by_reason(rows: Any) -> None:
    found = rows("""select reason_code, declined, declined_amount_minor
        from gold_credit.mart_declines_daily order by 1""")
    assert found == [("INSUFFICIENT_CREDIT", 2, 15000), ("UNKNOWN_CARD", 1, 2000)]


def test_a_credit_with_three_pending_payments_is_owed_once(rows: Any) -> None:
    """Credit 1 owes 1,000 with three instalments pending, credit 2 owes 200."""
    found = rows(f"""select credits, outstanding_principal_minor, pending_payments,
        pending_amount_minor, overdue_amount_minor, available_minor
        from gold_credit.mart_credit_summary
        where customer_id = '{key(1)}' and currency = 'USD'""")
    assert found == [(2, 120000, 5, 120000, 20000, 3400)]


def test_a_credit_is_as_late_as_its_oldest_unpaid_instalment(rows: Any) -> None:
    found = rows("""select credit_id, days_past_due, bucket, known_through::text
        from gold_credit.mart_delinquency_credits order by 1""")
    assert found == [
        (key(1), 0, "current", "2026-03-15"),
        (key(2), 42, "30-59", "2026-03-15"),
        (key(3), 0, "paid_off", "2026-03-15"),
        (key(4), 85, "60-89", "1994-03-31"),
        (key(5), 0, "restructured", "2026-03-15"),
        (key(6), 0, "current", "2026-03-15"),
        (key(7), 195, "charged_off", "2026-03-15"),
        (key(8), 0, "paid_off", "2026-03-15"),
    ]


def test_cancelled_instalments_are_not_owed(rows: Any) -> None:
    found = rows("""select credit_id, due_amount_minor, paid_amount_minor, unpaid_amount_minor,
        days_past_due from gold_credit.fct_payments where payment_status = 'CANCELLED'
        order by credit_id, due_date""")
    assert found == [
        (key(5), 20000, 5000, 0, 0),
        (key(5), 20000, 0, 0, 0),
        (key(8), 5200, 5000, 0, 0),
    ]


def test_of_a_restructured_credit_only_its_replacement_is_owed(rows: Any) -> None:
    """350 on the replacement; the 90 of the charged-off credit are overdue and not outstanding."""
    found = rows(f"""select credits, running_credits, outstanding_principal_minor,
        charged_off_principal_minor, pending_payments, pending_amount_minor, overdue_amount_minor,
        next_due_date::text from gold_credit.mart_credit_summary
        where customer_id = '{key(2)}' and currency = 'USD'""")
    assert found == [(5, 1, 35000, 9000, 3, 44000, 9000, "2026-04-01")]
    portfolio = rows("""select items, principal_minor, outstanding_principal_minor
        from gold_credit.mart_portfolio where status = 'RESTRUCTURED'""")
    assert portfolio == [(1, 60000, 0)]


def test_the_whole_principal_of_a_late_credit_is_at_risk(rows: Any) -> None:
    found = rows("""select currency, outstanding_principal_minor, par30_minor, par60_minor,
        par30_ratio from gold_credit.mart_portfolio_at_risk order by 1""")
    assert found == [
        ("CZK", 40000, 40000, 40000, Decimal("1.000000")),
        ("USD", 155000, 20000, 0, Decimal("0.129032")),
    ]


def test_empty_buckets_are_rows_of_zero(rows: Any) -> None:
    found = rows("""select count(*), sum(credits) from gold_credit.mart_delinquency_buckets""")
    assert found == [(24, 8)]


def test_the_portfolio_keeps_the_imported_code_and_counts_accounts_and_cards(rows: Any) -> None:
    found = rows("""select item, origin, currency, status, source_status, items,
        principal_minor from gold_credit.mart_portfolio where origin = 'berka' order by 1""")
    assert found == [
        ("account", "berka", "CZK", "ACTIVE", None, 1, 0),
        ("card", "berka", "CZK", "ACTIVE", None, 1, 0),
        ("credit", "berka", "CZK", "DELINQUENT", "D", 1, 40000),
    ]


def test_account_totals_are_those_of_the_ledger(rows: Any) -> None:
    found = rows("""select account_id, ledger_posted_minor, ledger_held_minor, open_holds_minor,
        posted_difference_minor, held_difference_minor, available_minor
        from gold_credit.mart_account_balances order by 1""")
    assert found == [(key(11), 2800, 3800, 3800, 0, 0, 3400), (key(12), -500, 0, 0, 0, 0, 500)]


def test_the_tie_out_leaves_deleted_rows_out_and_sums_per_currency(rows: Any) -> None:
    found = rows("""select measure, currency, row_count, amount_minor
        from gold_credit.mart_tie_out where entity in ('customers', 'payments') order by 1, 2""")
    assert found == [
        ("due_amount_minor", "CZK", 2, 40000),
        ("due_amount_minor", "USD", 15, 254400),
        ("paid_amount_minor", "CZK", 2, 0),
        ("paid_amount_minor", "USD", 15, 55200),
        ("rows", "", 4, 0),
        ("rows", "", 17, 0),
    ]


def test_identity_checks_expire_and_are_counted(rows: Any) -> None:
    found = rows("""select kyc_status, is_in_scope, expires_in_30_days
        from gold_compliance.mart_kyc_status order by customer_id""")
    assert found == [
        ("VALID", True, False),
        ("VALID", True, True),
        ("EXPIRED", False, False),
        ("NEVER_CHECKED", True, False),
    ]
    assert rows(
        "select in_scope, covered, coverage_rate from gold_compliance.mart_kyc_coverage"
    ) == [(3, 2, Decimal("0.666667"))]


def test_analysts_read_gold_and_nothing_else(built_warehouse: str) -> None:
    with psycopg.connect(built_warehouse.replace("warehouse_rw@", "analyst@")) as analyst:
        assert analyst.execute("select count(*) from gold_credit.fct_payments").fetchone() == (17,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute("select * from silver.payments")


def test_every_mart_and_its_columns_are_described_in_the_database(rows: Any) -> None:
    undescribed = rows("""select table_schema || '.' || table_name || '.' || column_name
        from information_schema.columns where table_schema like 'gold%'
        and col_description((table_schema || '.' || table_name)::regclass, ordinal_position)
            is null""")
    assert undescribed == []
