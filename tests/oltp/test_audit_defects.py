"""Defects of the specifications' audit, retention and quality checks, which ours has not."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from oltp import quality, retention
from oltp.audit.canonical import link
from tests.oltp.auditing import CHANGE

SEALED = "enc:1:" + "A" * 30


def customer(connection) -> str:
    made = str(uuid4())
    connection.execute(
        "insert into customer.customers (customer_id, full_name, email, country)"
        " values (%s, %s, %s, 'US')",
        (made, SEALED, SEALED),
    )
    return made


def last(connection, columns: str) -> tuple:
    return connection.execute(
        f"select {columns} from audit.changes order by change_id desc limit 1"
    ).fetchone()


def test_s0_audit_tables_do_not_create_because_index_stands_inside_create_table(audited):
    """Ours are created by the migrations, with the indexes that were meant."""
    found = audited.rows(
        "select tablename, count(*) from pg_indexes where schemaname = 'audit'"
        " and tablename in ('changes', 'api_access_logs') group by 1 order by 1"
    )
    assert found == [("api_access_logs", 3), ("changes", 3)]


def test_s0_partitioned_key_leaves_out_the_partition_column(audited):
    keys = audited.rows(
        "select c.relname, pg_get_constraintdef(k.oid) from pg_constraint k"
        " join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = 'audit' and c.relkind = 'p' and k.contype = 'p' order by 1"
    )
    assert keys == [
        ("api_access_logs", "PRIMARY KEY (access_id, occurred_at)"),
        ("changes", "PRIMARY KEY (change_id, occurred_at)"),
    ]


def test_s0_track_changes_lists_every_text_column_when_one_changed(connection):
    made = customer(connection)
    connection.execute(
        "update customer.customers set status = 'SUSPENDED' where customer_id = %s", (made,)
    )
    assert last(connection, "changed_fields, old_values, new_values") == (
        ["status"], {"status": "ACTIVE"}, {"status": "SUSPENDED"},
    )  # fmt: skip


def test_s0_audit_refuses_every_write_when_the_session_says_nothing(connection):
    connection.execute("reset all")
    connection.execute(CHANGE)
    assert last(connection, "actor, correlation_id") == (None, None)


def test_s0_audit_fails_when_the_current_user_is_an_empty_text(connection):
    for name in ("actor", "client_ip", "correlation_id"):
        connection.execute(f"set app.{name} = ''")
    connection.execute(CHANGE)
    assert last(connection, "actor, client_ip, correlation_id") == (None, None, None)


def test_s0_audit_knows_only_tables_whose_key_is_called_id(connection):
    made = customer(connection)
    assert last(connection, "row_key") == ({"customer_id": made},)


def test_s0_monthly_partition_is_made_in_the_wrong_schema_with_a_dot_in_its_name(audited):
    assert audited.rows("select relname::text from pg_class where strpos(relname, '.') > 0") == []
    audited.do("select audit.ensure_partitions(12)")
    children = audited.rows(
        "select n.nspname::text, count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where i.inhparent = 'audit.changes'::regclass group by 1"
    )
    assert children == [("audit", 14)]


def test_s0_retention_stops_at_the_first_policy_because_no_archive_is_there(connection):
    runs = list(retention.enforce(connection, operator="ops"))
    assert len(runs) >= 12
    assert [run.error for run in runs if run.error] == []


def test_s0_retention_needs_a_created_at_that_rate_limits_have_not(connection):
    with pytest.raises(errors.UndefinedColumn, match=r"provider\.rate_limits\.nowhere"):
        connection.execute(
            "update audit.retention_policies set anchor_column = 'nowhere'"
            " where name = 'rate_limits'"
        )


def test_s0_retention_counts_from_the_row_and_not_from_the_event(audited):
    anchors = dict(
        audited.rows(
            "select name, coalesce(anchor_table || '.', '') || anchor_column"
            " from audit.retention_policies"
        )
    )
    assert anchors["kyc_records"] == "customers.closed_at"
    assert anchors["payments"] == "active_credits.closed_on"
    assert "created_at" not in anchors.values()


def test_s0_retention_names_anonymize_and_does_not_do_it(connection):
    made = customer(connection)
    connection.execute(
        "update customer.customers set status = 'CLOSED', closed_at = '2001-01-01Z'"
        " where customer_id = %s", (made,)
    )  # fmt: skip
    list(retention.enforce(connection, operator="ops", only="customers"))
    found = connection.execute("select full_name, email from customer.customers").fetchone()
    assert found == (None, None)


def test_s0_archiving_an_application_with_a_credit_violates_its_foreign_key(connection):
    """It stays, the run says what refers to it, and nothing is rolled back."""
    one, application, offer = customer(connection), uuid4(), uuid4()
    connection.execute(
        "insert into credit.applications (application_id, customer_id, application_number,"
        " requested_amount_minor, currency, term_months, purpose, status, submitted_at,"
        " decided_at) values (%s, %s, 'A1', 100000, 'USD', 12, 'CAR', 'APPROVED',"
        " '2001-01-01Z', '2001-01-02Z')",
        (application, one),
    )
    connection.execute(
        "insert into credit.offers (offer_id, application_id, provider, amount_minor, currency,"
        " interest_rate, apr, term_months, monthly_payment_minor, status, valid_until,"
        " accepted_at) values (%s, %s, 'P', 100000, 'USD', 0.07, 0.08, 12, 9000, 'ACCEPTED',"
        " '2001-03-01Z', '2001-02-01Z')",
        (offer, application),
    )
    connection.execute(
        "insert into credit.active_credits (credit_id, customer_id, offer_id, credit_number,"
        " principal_minor, currency, interest_rate, term_months, monthly_payment_minor, status,"
        " disbursed_on, matures_on) values (gen_random_uuid(), %s, %s, 'C1', 100000, 'USD', 0.07,"
        " 12, 9000, 'CURRENT', '2001-02-01', '2002-02-01')",
        (one, offer),
    )
    runs = {run.policy: run for run in retention.enforce(connection, operator="ops")}
    assert runs["applications"].referenced_by == {"credit.offers.application_id": 1}
    assert (runs["applications"].done, runs["applications"].error) == (0, None)
    assert connection.execute("select count(*) from credit.applications").fetchone() == (1,)


@pytest.mark.parametrize(
    "rule", ["orphaned_offers", "invalid_payment_amounts", "missing_kyc_records"]
)
def test_s0_quality_check_has_neither_passed_nor_failed(connection, rule):
    (result,) = quality.check(connection, only=rule)
    assert result.passed is True
    stored = connection.execute("select passed from audit.quality_results").fetchone()
    assert stored == (True,)
    with pytest.raises(errors.NotNullViolation):
        connection.execute(
            "insert into audit.quality_results (run_id, quality_rule_id, rule_version, passed)"
            " select gen_random_uuid(), quality_rule_id, 1, null from audit.quality_rules limit 1"
        )


def test_s0_quality_check_misses_payments_whose_amount_is_null(connection):
    connection.execute("create table credit.sums (id int primary key, total int, a int, b int)")
    connection.execute("insert into credit.sums values (1, 3, 1, 2), (2, null, 1, 2)")
    connection.execute(
        "insert into audit.quality_rules (name, table_schema, table_name, column_name, rule_type,"
        " rule_config) values ('sums', 'credit', 'sums', 'total', 'SUM', %s)",
        ('{"parts": ["a", "b"]}',),
    )
    (result,) = quality.check(connection, only="sums")
    assert (result.failed, result.samples[0]["id"]) == (1, "2")


def test_s0_quality_check_finds_a_customer_with_an_account_and_no_kyc_record(connection):
    one = customer(connection)
    connection.execute(
        "insert into card.card_accounts (account_id, customer_id, currency, credit_limit_minor,"
        " opened_on) values (gen_random_uuid(), %s, 'USD', 1000, '2026-01-01')",
        (one,),
    )
    (result,) = quality.check(connection, only="missing_kyc_records")
    assert (result.passed, result.failed) == (False, 1)


def test_s0_runners_execute_sql_that_is_stored_in_a_table(connection):
    with pytest.raises(errors.CheckViolation):
        connection.execute(
            "insert into audit.quality_rules (name, table_schema, table_name, column_name,"
            " rule_type, rule_config) values ('evil', 'credit', 'offers', 'offer_id', 'SQL',"
            ' \'{"query": "drop table audit.chain"}\')'
        )


def test_s3_rule_names_a_column_that_is_not_there(connection):
    with pytest.raises(errors.UndefinedColumn, match=r"credit\.offers\.email"):
        connection.execute(
            "insert into audit.quality_rules (name, table_schema, table_name, column_name,"
            " rule_type) values ('emails', 'credit', 'offers', 'email', 'NOT_NULL')"
        )


def test_s1_integrity_hash_is_unchained_and_ambiguous():
    """Ours has the hash before it, the number and the length of what it covers."""
    one = link(bytes(32), 1, '["a|b", "c"]')
    assert one != link(bytes(32), 2, '["a|b", "c"]')
    assert one != link(b"\x01" * 32, 1, '["a|b", "c"]')
    assert one != link(bytes(32), 1, '["a", "b|c"]')


def test_s1_integrity_verified_sits_in_the_row_that_it_vouches_for(audited):
    columns = audited.rows(
        "select column_name::text from information_schema.columns where table_schema = 'audit'"
        " and table_name in ('changes', 'chain') and column_name ~ 'verified|integrity'"
    )
    assert columns == []


def test_s1_audit_is_written_by_whoever_may_change_it(audited):
    """app_rw leaves its trace by the trigger, and can neither write nor change one itself."""
    with psycopg.connect(audited.admin) as connection:
        connection.execute("set role app_rw")
        for statement in (
            "insert into audit.changes (table_schema, table_name, operation, severity,"
            " compliance_category) values ('a', 'b', 'INSERT', 'LOW', 'KYC')",
            "update audit.changes set actor = 'x'",
            "delete from audit.chain",
            "truncate audit.changes",
            "alter table customer.customers disable trigger audit_update",
            "set session_replication_role = replica",
        ):
            with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)
