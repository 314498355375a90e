"""Retention: what is due goes, what is held or referred to stays, and evidence is left."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from oltp import retention

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SEALED = "enc:1:" + "A" * 30


def customer(connection, closed_at: str | None = None) -> UUID:
    made = uuid4()
    connection.execute(
        "insert into customer.customers (customer_id, full_name, email, email_masked, country,"
        " status, closed_at) values (%s, %s, %s, 'a***@x.io', 'US', %s, %s)",
        (made, SEALED, SEALED, "CLOSED" if closed_at else "ACTIVE", closed_at),
    )
    return made


def kyc_record(connection, of: UUID, created_at: str = "2001-01-01Z") -> UUID:
    made = uuid4()
    connection.execute(
        "insert into kyc.kyc_records (kyc_record_id, customer_id, verification_type, status,"
        " provider, risk_level, created_at) values (%s, %s, 'IDENTITY', 'PENDING', 'p', 'LOW', %s)",
        (made, of, created_at),
    )
    return made


def application(connection, of: UUID, decided_at: str) -> UUID:
    made = uuid4()
    connection.execute(
        "insert into credit.applications (application_id, customer_id, application_number,"
        " requested_amount_minor, currency, term_months, purpose, status, decision_reason,"
        " submitted_at, decided_at)"
        " values (%s, %s, %s, 1000, 'USD', 12, 'CAR', 'DECLINED', 'LOW_SCORE', '2000-01-01Z', %s)",
        (made, of, str(made), decided_at),
    )
    return made


def enforce(connection, **options) -> dict[str, retention.Run]:
    options = {"operator": "ops", "as_of": NOW} | options
    return {run.policy: run for run in retention.enforce(connection, **options)}


def test_identity_is_kept_five_years_from_the_closing_and_not_from_its_creation(connection):
    """S0 counts from created_at, which loses the identity of a customer of long standing."""
    kyc_record(connection, customer(connection))
    kyc_record(connection, customer(connection, "2022-06-01Z"))
    gone = kyc_record(connection, customer(connection, "2021-05-31Z"))
    run = enforce(connection, only="kyc_records")["kyc_records"]
    assert (run.before, run.due, run.done, run.after) == (3, 1, 1, 2)
    archived = connection.execute("select row_key, row_values from archive.kyc__kyc_records")
    ((key, values),) = archived.fetchall()
    assert key == {"kyc_record_id": str(gone)}
    assert values["provider"] == "p"


def test_months_are_months(connection):
    one = customer(connection)
    application(connection, one, "2024-04-01 00:00:01Z")
    application(connection, one, "2024-04-01 00:00:00Z")
    assert enforce(connection, only="applications")["applications"].done == 1


def test_a_dry_run_counts_the_same_and_changes_nothing(connection):
    kyc_record(connection, customer(connection, "2001-01-01Z"))
    dry = enforce(connection, only="kyc_records", dry_run=True)["kyc_records"]
    assert connection.execute("select count(*) from kyc.kyc_records").fetchone() == (1,)
    assert (
        connection.execute("select to_regclass('archive.kyc__kyc_records')").fetchone()[0] is None
    )
    real = enforce(connection, only="kyc_records")["kyc_records"]
    assert dry == real
    assert real.done == 1


def test_a_second_run_finds_nothing_left_to_do(connection):
    kyc_record(connection, customer(connection, "2001-01-01Z"))
    enforce(connection)
    again = enforce(connection)
    assert {run.done for run in again.values()} == {0}


def test_every_run_leaves_evidence(connection):
    made = kyc_record(connection, customer(connection, "2001-01-01Z"))
    enforce(connection, only="kyc_records")
    row = connection.execute(
        "select rule_version, is_dry_run, operator, status, rows_before, rows_due, rows_done,"
        " rows_after, archive_table, keys_sha256 = encode(sha256(%s), 'hex')"
        " from audit.retention_runs", (f"{made}\n".encode(),)
    ).fetchone()  # fmt: skip
    assert row == (1, False, "ops", "DONE", 1, 1, 1, 0, "archive.kyc__kyc_records", True)
    audit = connection.execute(
        "select actor, reason from audit.changes where operation = 'DELETE'"
        " and table_name = 'kyc_records'"
    ).fetchone()
    assert audit == ("ops", "retention: kyc_records version 1")


@pytest.mark.parametrize("over", ["customer", "table"])
def test_a_legal_hold_wins_until_it_is_released(connection, over):
    held = customer(connection, "2001-01-01Z")
    kyc_record(connection, held)
    connection.execute(
        "insert into audit.legal_holds (customer_id, table_schema, table_name, reason, placed_by)"
        " values (%s, %s, %s, 'case 7', 'counsel')",
        (held, None, None) if over == "customer" else (None, "kyc", "kyc_records"),
    )
    run = enforce(connection, only="kyc_records")["kyc_records"]
    assert (run.due, run.held, run.done) == (1, 1, 0)
    connection.execute("update audit.legal_holds set released_at = now(), released_by = 'counsel'")
    assert enforce(connection, only="kyc_records")["kyc_records"].done == 1


def test_what_another_table_refers_to_stays_and_says_what_refers_to_it(connection):
    one = customer(connection)
    kept, _ = (application(connection, one, "2001-01-01Z") for _ in range(2))
    connection.execute(
        "insert into credit.adverse_action_notices (adverse_action_notice_id, customer_id,"
        " application_id, action, clock_started_at, due_on)"
        " values (gen_random_uuid(), %s, %s, 'DECLINED', '2001-01-01Z', '2001-01-31')",
        (one, kept),
    )
    run = enforce(connection)["applications"]
    assert (run.due, run.referenced, run.done) == (2, 1, 1)
    assert run.referenced_by == {"credit.adverse_action_notices.application_id": 1}


def test_a_notice_goes_with_its_reasons_and_then_its_application(connection):
    one = customer(connection)
    declined = application(connection, one, "2001-01-01Z")
    connection.execute(
        "insert into credit.adverse_action_notices (adverse_action_notice_id, customer_id,"
        " application_id, action, clock_started_at, due_on, sent_at, status) values"
        " (gen_random_uuid(), %s, %s, 'DECLINED', '2001-01-01Z', '2001-01-31', '2001-01-20Z',"
        " 'SENT')",
        (one, declined),
    )
    runs = enforce(connection)
    assert (runs["adverse_action_notices"].done, runs["applications"].done) == (1, 1)


def test_a_policy_that_fails_is_undone_and_stops_no_other(connection):
    kyc_record(connection, customer(connection, "2001-01-01Z"))
    connection.execute("create table archive.kyc__kyc_records (wrong text)")
    connection.execute(
        "insert into audit.api_access_logs (request_id, method, path, occurred_at)"
        " values ('r', 'GET', '/', '2026-01-01Z'), ('s', 'GET', '/', '2026-05-30Z')"
    )
    runs = enforce(connection)
    assert runs["kyc_records"].error
    assert runs["kyc_records"].done == 0
    assert (runs["api_access_logs"].done, runs["api_access_logs"].after) == (1, 1)
    status = connection.execute(
        "select status, error is not null from audit.retention_runs"
        " where policy_name = 'kyc_records'"
    ).fetchone()
    assert status == ("FAILED", True)
    assert connection.execute("select count(*) from kyc.kyc_records").fetchone() == (1,)


def test_anonymizing_empties_what_is_personal_and_keeps_the_row(connection):
    """S0 names the strategy and does nothing."""
    customer(connection, "2001-01-01Z")
    customer(connection)
    assert enforce(connection, only="customers")["customers"].done == 1
    rows = connection.execute(
        "select full_name, email, email_masked, country from customer.customers"
        " order by closed_at nulls last"
    ).fetchall()
    assert rows == [(None, None, None, "US"), (SEALED, SEALED, "a***@x.io", "US")]
    assert enforce(connection, only="customers")["customers"].due == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("table_name = 'x\"; drop table audit.chain; --'", errors.UndefinedColumn),
        ("anchor_column = 'nowhere'", errors.UndefinedColumn),
        ("anchor_column = 'provider'", errors.DatatypeMismatch),
        ("anchor_schema = 'pg_catalog', anchor_table = 'pg_class'", errors.UndefinedColumn),
        ("subject_column = 'provider'", errors.DatatypeMismatch),
        ("period = '-1 day'", errors.CheckViolation),
        ("strategy = 'FORGET'", errors.CheckViolation),
        ("strategy = 'ANONYMIZE', anonymized_columns = '[\"nowhere\"]'", errors.UndefinedColumn),
        ("strategy = 'ANONYMIZE', anonymized_columns = '[\"status\"]'", errors.NotNullViolation),
        ("table_schema = 'audit', table_name = 'changes'", errors.Error),
        ("table_schema = 'ledger', table_name = 'postings'", errors.Error),
    ],
)
def test_a_policy_with_a_name_that_is_none_is_refused_when_it_is_written(connection, change, error):
    change = change.replace("anchor_column = 'provider'", "anchor_schema = null,"
                            " anchor_table = null, link_column = null, anchor_key = null,"
                            " anchor_column = 'provider'")  # fmt: skip
    with pytest.raises(error):
        connection.execute(
            f"update audit.retention_policies set {change} where name = 'kyc_records'"
        )


def test_an_unknown_policy_is_named(connection):
    with pytest.raises(LookupError, match="no active retention policy nothing"):
        list(retention.enforce(connection, operator="ops", only="nothing"))


def test_every_policy_says_what_it_is_based_on(audited):
    with psycopg.connect(audited.admin) as connection:
        rows = connection.execute(
            "select name, basis, anchor_column from audit.retention_policies"
        ).fetchall()
    assert len(rows) >= 12
    assert all(basis and anchor != "created_at" for _, basis, anchor in rows)
