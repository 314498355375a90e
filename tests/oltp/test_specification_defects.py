"""Each defect of the specifications' own tables, and that ours have it not.

The numbers are those of the list of defects that were found by running the specifications' SQL.
Defects of audit, retention, quality rules, masking and row security have tests beside those parts.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import ForeignKeyViolation

from tests.oltp.valid_rows import THEN

SUMMARY = (
    "select open_credits, outstanding_principal_minor, next_due_date::text,"
    " unpaid_instalments_minor from credit.customer_credit_summary where customer_id = %s"
)


def disburse(rows, credit, amount: int) -> None:
    """The entry that moves a new credit's outstanding principal."""
    entry = uuid4()
    rows.add("ledger.entries", entry_id=entry, entry_type="DISBURSEMENT", effective_at=THEN)
    rows.connection.execute(
        "insert into ledger.postings (posting_id, entry_id, ledger_account_id, layer, direction,"
        " amount_minor, currency) values"
        " (gen_random_uuid(), %(entry)s, %(credit)s, 'POSTED', 'DEBIT', %(amount)s, 'USD'),"
        " (gen_random_uuid(), %(entry)s, md5('CASH:USD')::uuid, 'POSTED', 'CREDIT', %(amount)s,"
        " 'USD')",
        {"entry": entry, "credit": credit, "amount": amount},
    )


def test_a_loan_of_1000_with_3_pending_payments_reports_1000_outstanding(rows):
    """5: a join of credits and payments reported 3,000; with 12 payments 12,000."""
    customer = rows.customer()
    credit = rows.credit(customer_id=customer, principal_minor=100_000)
    disburse(rows, credit, 100_000)
    for number in (1, 2, 3):
        rows.payment(credit, number)
    assert rows.one(SUMMARY, customer) == (1, 100_000, "2025-02-28", 27_000)


def test_two_loans_with_payments_are_each_counted_once(rows):
    """5: the same with several credits, one of them without any payment."""
    customer = rows.customer()
    for payments in (0, 12):
        credit = rows.credit(customer_id=customer, principal_minor=100_000)
        disburse(rows, credit, 100_000)
        for number in range(1, payments + 1):
            rows.payment(credit, number, due_date="2025-02-28")
    assert rows.one(SUMMARY, customer)[:2] == (2, 200_000)


def test_the_summary_is_never_stale_and_needs_no_refresh(database, rows):
    """4: REFRESH CONCURRENTLY failed without a unique index; a view has nothing to refresh."""
    assert database.one("select count(*) from pg_matviews") == (0,)
    customer = rows.customer()
    disburse(rows, rows.credit(customer_id=customer), 100_000)
    assert rows.one(SUMMARY, customer)[1] == 100_000


def test_migrations_apply_without_indexes_inside_create_table(database):
    """1: INDEX inside CREATE TABLE is not PostgreSQL; ours are made and used."""
    indexed = "select count(*) > 0 from pg_indexes where tablename = 'card_events'"
    assert database.one(indexed) == (True,)


def test_the_primary_key_of_a_partitioned_table_has_the_partitions_column(database):
    """2: PRIMARY KEY (id) on card_events and on the audit, partitioned by time, is refused."""
    with psycopg.connect(database.admin) as connection:
        tables = connection.execute(
            "select p.partrelid::regclass::text, p.partattrs[0] = any (i.indkey)"
            " from pg_partitioned_table p join pg_index i on i.indrelid = p.partrelid"
            " and i.indisprimary"
        ).fetchall()
    assert ("card.card_events", True) in tables
    assert all(has_it for _, has_it in tables)


def test_no_index_has_a_clock_in_its_predicate(database):
    """3: WHERE due_date < CURRENT_DATE is not immutable; ours asks for what is unpaid."""
    predicate = database.one(
        "select pg_get_expr(indpred, indrelid) from pg_index"
        " where indexrelid = 'credit.payments_unpaid'::regclass"
    )[0]
    assert "status" in predicate
    assert "CURRENT_DATE" not in predicate


def test_a_partition_lies_in_its_tables_schema_under_its_tables_name(database):
    """8: create_monthly_partition made public."audit.events_2026_12", dot and all."""
    with psycopg.connect(database.admin) as connection:
        made = connection.execute(
            "select card.ensure_event_partitions('2031-01-15', '2031-03-01')"
        ).fetchone()
        again = connection.execute(
            "select card.ensure_event_partitions('2031-01-15', '2031-03-01')"
        ).fetchone()
        names = connection.execute(
            "select c.relnamespace::regnamespace::text, c.relname from pg_inherits i"
            " join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = 'card.card_events'::regclass and c.relname like '%2031%'"
            " order by 2"
        ).fetchall()
        connection.rollback()
    assert (made, again) == ((3,), (0,))
    assert names == [("card", f"card_events_2031_0{month}") for month in (1, 2, 3)]
    assert database.one("select count(*) from pg_class where position('.' in relname) > 0") == (0,)


def test_an_event_of_a_month_that_nobody_made_is_kept(rows):
    """8: without next month's partition every insert fails at midnight."""
    account, event = rows.account(), uuid4()
    rows.add(
        "card.card_events",
        card_event_id=event,
        occurred_at="1993-01-01Z",
        account_id=account,
        event_type="CARD_ISSUED",
    )
    where = "select tableoid::regclass::text from card.card_events where card_event_id = %s"
    assert rows.one(where, event) == ("card.card_events_default",)


def test_rate_limits_say_when_they_were_made(database):
    """9: retention by created_at aborted at rate_limits, which had none."""
    with psycopg.connect(database.admin) as connection:
        without = connection.execute(
            "select c.oid::regclass::text from pg_class c"
            " where c.relkind in ('r', 'p') and not c.relispartition"
            " and c.relnamespace = any (array['provider', 'credit', 'card', 'kyc', 'risk',"
            " 'restricted']::regnamespace[])"
            " and not exists (select from pg_attribute a where a.attrelid = c.oid"
            " and a.attname = 'created_at')"
        ).fetchall()
    # Counters, whose period or last decision says it; and changes, which say when they happened.
    assert sorted(without) == [
        ("card.card_states",), ("card.rule_changes",), ("card.spend_counters",),
    ]  # fmt: skip


@pytest.mark.parametrize("record", ["application", "credit", "account", "kyc_record"])
def test_deleting_a_customer_with_retained_records_is_refused(rows, record):
    """11: ON DELETE CASCADE emptied applications, credits, payments, KYC and AML."""
    customer = rows.customer()
    getattr(rows, record)(customer_id=customer)
    with pytest.raises(ForeignKeyViolation):
        rows.connection.execute(
            "delete from customer.customers where customer_id = %s", (customer,)
        )


def test_archiving_an_application_with_offers_is_refused_not_half_done(rows):
    """Archiving an application violated the key of its offers, and rolled every policy back."""
    application = rows.application()
    rows.offer(application_id=application)
    with pytest.raises(ForeignKeyViolation):
        rows.connection.execute(
            "delete from credit.applications where application_id = %s", (application,)
        )


def health(rows, customer) -> tuple:
    return rows.one(
        "select current_health_factor, debt_value, is_priced from card.customer_position_summary"
        " where customer_id = %s",
        customer,
    )


def test_current_health_is_the_latest_and_of_the_weakest_position_not_the_best_ever(rows):
    """16: MAX(health_factor) showed the best there had ever been."""
    customer = rows.customer()
    for amount in ("10", "1"):
        rows.collateral(rows.position("1000", customer_id=customer), amount)
    rows.price("USDC", "1")
    rows.price("ETH", "4000", THEN - timedelta(days=1))
    rows.price("ETH", "1500")
    assert health(rows, customer) == (Decimal("1.2"), Decimal(2000), True)


def test_without_debt_there_is_no_health_factor_and_no_division_error(rows):
    """Zero debt divided; there it is undefined, not infinite and not zero."""
    customer = rows.customer()
    rows.collateral(rows.position("0", customer_id=customer), "1")
    rows.price("ETH", "1500")
    assert health(rows, customer) == (None, 0, True)


def test_without_a_price_health_is_unknown_and_says_so(rows):
    """A missing price is neither zero nor left out of the sum."""
    customer = rows.customer()
    position = rows.position("1000", customer_id=customer)
    rows.price("USDC", "1")
    rows.price("ETH", "1500")
    rows.collateral(position, "1")
    rows.collateral(position, "1", asset="XYZ")
    factor, _, is_priced = health(rows, customer)
    assert (factor, is_priced) == (None, False)


def test_a_rate_of_7_125_percent_is_kept_exactly(rows):
    """17: DECIMAL(5,2) rounded it to 7.13."""
    offer = rows.offer(interest_rate="0.071250", apr="0.071250")
    found = rows.one("select interest_rate from credit.offers where offer_id = %s", offer)
    assert found == (Decimal("0.07125"),)


@pytest.mark.parametrize(
    ("maker", "column"),
    [
        ("offer", "interest_rate"),
        ("offer", "apr"),
        ("credit", "interest_rate"),
        ("kyc_record", "risk_score"),
        ("position", "debt_amount"),
    ],
)
def test_nan_is_not_an_amount_a_rate_or_a_score(rows, maker, column):
    """'NaN'::numeric >= 0 is true, so CHECK (amount >= 0) let it in."""
    with pytest.raises(psycopg.errors.CheckViolation):
        getattr(rows, maker)(**{column: "NaN"})


def test_an_unpaid_instalment_cannot_escape_a_rule_through_null(rows):
    """10: total_paid <> principal + interest was NULL for unpaid rows; ours is 0, never null."""
    payment = rows.payment(rows.credit())
    rule = (
        "select (status <> 'PAID' or paid_amount_minor >= due_amount_minor), paid_amount_minor"
        " from credit.payments where payment_id = %s"
    )
    assert rows.one(rule, payment) == (True, 0)


def test_a_risk_score_is_the_weighted_mean_of_its_factors(rows):
    """Weights were stored and used by nothing; a score that differs is found."""
    assessment = rows.assessment(
        status="COMPLETED", risk_level="MEDIUM", risk_score="40.00", completed_at=THEN
    )
    rows.factor(assessment, "PEP", "10", "1")
    rows.factor(assessment, "GEOGRAPHY", "50", "3")
    found = (
        "select weighted_score, differs from risk.assessment_scores where risk_assessment_id = %s"
    )
    assert rows.one(found, assessment) == (Decimal("40.00"), False)
    rows.factor(assessment, "INDUSTRY", "100", "1")
    assert rows.one(found, assessment) == (Decimal("52.00"), True)


def test_progress_of_a_checklist_is_counted_never_stored(rows):
    """A stored percentage drifts from its items; an empty checklist is not done."""
    template, checklist, case = uuid4(), uuid4(), rows.case(case_type="TRUST")
    rows.add(
        "kyc.checklist_templates",
        checklist_template_id=template,
        case_type="TRUST",
        version=1_000,
        valid_from="2025-01-01",
    )
    rows.add("kyc.checklists", checklist_id=checklist, case_id=case, checklist_template_id=template)
    progress = (
        "select checklist_completion_percent, checklist_required_completion_percent,"
        " checklist_required_items from kyc.onboarding_case_projection where case_id = %s"
    )
    assert rows.one(progress, case) == (0, 0, 0)
    for position, done in enumerate((True, False, False), 1):
        rows.add(
            "kyc.checklist_items",
            checklist_item_id=uuid4(),
            checklist_id=checklist,
            position=position,
            name=f"item {position}",
            category="IDENTITY",
            is_required=position < 3,
            status="COMPLETED" if done else "PENDING",
            completed_at=THEN if done else None,
            completed_by="ana" if done else None,
        )
    assert rows.one(progress, case) == (Decimal("33.33"), Decimal("50.00"), 2)


def test_the_case_projection_has_one_row_per_case_whatever_it_joins(rows):
    """A projection fed by events drifts or doubles; ours is a view of one row a case."""
    customer = rows.customer()
    case = rows.case(customer_id=customer, case_type="INDIVIDUAL")
    for number in range(2):
        rows.owner(case, "10")
        rows.add(
            "customer.documents",
            document_id=uuid4(),
            customer_id=customer,
            document_type="PASSPORT",
            content_sha256=str(number) * 64,
        )
    found = (
        "select count(*), max(document_count), max(beneficial_owner_count)"
        " from kyc.onboarding_case_projection where case_id = %s"
    )
    assert rows.one(found, case) == (1, 2, 2)


def test_a_hold_lives_as_long_as_clearing_may_take(rows):
    """A pending amount lived 300 seconds while clearing takes days: ours ends when its row says."""
    hold = rows.add(
        "card.holds",
        hold_id=uuid4(),
        authorization_id=rows.authorization(),
        account_id=rows.account(),
        amount_minor=1_000,
        currency="USD",
        expires_at=THEN + timedelta(days=31),
    )
    found = "select status, expires_at - %s > interval '30 days' from card.holds where hold_id = %s"
    assert rows.one(found, THEN, hold["hold_id"]) == ("PENDING", True)


def test_no_column_is_generated_so_capture_sees_them_all(database):
    """Logical decoding leaves generated columns out, and a date of a time is no constant."""
    with psycopg.connect(database.admin) as connection:
        generated = connection.execute(
            "select table_schema, table_name, column_name from information_schema.columns"
            " where is_generated = 'ALWAYS' and table_schema = any (%s)",
            (["customer", "provider", "credit", "card", "kyc", "risk", "ledger", "ops"],),
        ).fetchall()
    assert generated == []
