"""What the audit writes for each kind of statement, and what it refuses."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from oltp import posting
from oltp.audit.canonical import FIELDS
from tests.oltp.auditing import Audited, copy_of

SETTINGS = ("actor", "role", "client_ip", "user_agent", "correlation_id", "reason")
LAST = (
    "select operation, row_key, old_values, new_values, changed_fields, row_count"
    " from audit.changes order by change_id desc limit 1"
)
TENANT = "insert into customer.tenants (tenant_id, name) values (gen_random_uuid(), %s)"


@pytest.fixture(scope="module")
def audited(database, tmp_path_factory) -> Audited:
    made = copy_of(database.admin, tmp_path_factory.mktemp("audit"))
    made.do(
        "create table ledger.things (thing_id bigint primary key, name text, at timestamptz)",
        "create table ledger.facts (a int, b int, name text, primary key (a, b))",
        "select audit.attach('ledger.things', 'ROWS', 'FINANCIAL', 'HIGH')",
        "select audit.attach('ledger.facts', 'DIGEST', 'FINANCIAL', 'LOW')",
    )
    return made


@pytest.fixture
def connection(audited):
    with psycopg.connect(audited.admin) as opened:
        yield opened
        opened.rollback()


def changes(connection, operation="%") -> int:
    return connection.execute(
        "select count(*) from audit.changes where operation like %s", (operation,)
    ).fetchone()[0]


def test_every_column_is_part_of_what_is_hashed(audited):
    columns = audited.rows(
        "select column_name::text from information_schema.columns"
        " where table_schema = 'audit' and table_name = 'changes' order by ordinal_position"
    )
    assert tuple(name for (name,) in columns) == FIELDS


def test_an_insert_is_kept_whole(connection):
    connection.execute("insert into ledger.things values (1, 'a', '2026-01-01Z')")
    row = {"thing_id": 1, "name": "a", "at": "2026-01-01T00:00:00+00:00"}
    assert connection.execute(LAST).fetchone() == ("INSERT", {"thing_id": 1}, None, row, None, 1)


def test_an_update_keeps_only_what_it_changed(connection):
    connection.execute("insert into ledger.things values (1, 'a', '2026-01-01Z')")
    connection.execute("update ledger.things set name = 'b'")
    assert connection.execute(LAST).fetchone() == (
        "UPDATE", {"thing_id": 1}, {"name": "a"}, {"name": "b"}, ["name"], 1,
    )  # fmt: skip


def test_a_change_from_null_and_to_null_is_a_change(connection):
    connection.execute("insert into ledger.things values (1, null, '2026-01-01Z')")
    connection.execute("update ledger.things set name = 'b', at = null")
    found = connection.execute(LAST).fetchone()
    assert found[2] == {"name": None, "at": "2026-01-01T00:00:00+00:00"}
    assert found[4] == ["at", "name"]


def test_an_update_that_changes_nothing_leaves_nothing(connection):
    connection.execute("insert into ledger.things select g, 'a' from generate_series(1, 3000) g")
    before = changes(connection)
    connection.execute("update ledger.things set name = name where thing_id < 10")
    connection.execute("update ledger.things set name = name")
    connection.execute("update ledger.things set name = 'x' where thing_id < 0")
    assert changes(connection) == before


def test_a_changed_key_is_a_delete_and_an_insert(connection):
    connection.execute("insert into ledger.things values (1, 'a')")
    connection.execute("update ledger.things set thing_id = 2")
    rows = connection.execute(
        "select operation, row_key from audit.changes order by change_id desc limit 2"
    ).fetchall()
    assert sorted(rows) == [("DELETE", {"thing_id": 1}), ("INSERT", {"thing_id": 2})]


def test_a_delete_is_kept_whole(connection):
    connection.execute("insert into ledger.things values (1, 'a')")
    connection.execute("delete from ledger.things")
    found = connection.execute(LAST).fetchone()
    assert found[:3] == ("DELETE", {"thing_id": 1}, {"thing_id": 1, "name": "a", "at": None})


def test_a_large_statement_is_one_batch_with_count_and_digest(connection):
    connection.execute("insert into ledger.things select g, 'a' from generate_series(1, 1001) g")
    connection.execute("update ledger.things set name = 'b'")
    connection.execute("delete from ledger.things")
    rows = connection.execute(
        "select operation, batch_of, row_count, octet_length(digest) from audit.changes"
        " order by change_id desc limit 3"
    ).fetchall()
    assert rows == [("BATCH", what, 1001, 32) for what in ("DELETE", "UPDATE", "INSERT")]


def test_the_digest_is_of_the_rows_and_not_of_their_order(connection):
    digests = []
    for order, name in (("g", "'a'"), ("-g", "'a'"), ("g", "'b'")):
        connection.execute(
            f"insert into ledger.things select g, {name}, '2026-01-01Z'"
            f" from generate_series(1, 2000) g order by {order}"
        )
        digests += connection.execute(
            "select digest from audit.changes order by change_id desc limit 1"
        ).fetchone()
        connection.execute("delete from ledger.things")
        # How times are shown is the session's affair, not the digest's.
        connection.execute("set local timezone = 'Asia/Tokyo'; set local datestyle = 'German'")
    assert digests[0] == digests[1] != digests[2]


def test_an_insert_of_append_only_rows_is_a_batch_of_any_size_but_their_change_is_not(connection):
    connection.execute("insert into ledger.facts values (1, 1, 'a'), (1, 2, 'b')")
    connection.execute("update ledger.facts set name = 'c' where b = 2")
    rows = connection.execute(
        "select operation, row_key, row_count from audit.changes order by change_id desc limit 2"
    ).fetchall()
    assert rows == [("UPDATE", {"a": 1, "b": 2}, 1), ("BATCH", None, 2)]


def test_a_table_that_has_columns_named_like_anything_is_audited(connection):
    connection.execute(
        'create table ledger.odd ("the row" int primary key, n int, r int, key int, "row" int)'
    )
    connection.execute("select audit.attach('ledger.odd', 'DIGEST', 'FINANCIAL', 'LOW')")
    connection.execute("insert into ledger.odd values (1, 2, 3, 4, 5)")
    connection.execute("update ledger.odd set n = 9")
    assert connection.execute(LAST).fetchone()[4] == ["n"]


def test_truncate_is_refused(connection):
    with pytest.raises(errors.InsufficientPrivilege, match=r"ledger\.things is audited"):
        connection.execute("truncate ledger.things")


def test_what_the_session_says_is_kept(connection):
    for name in SETTINGS:
        value = "10.1.2.3" if name == "client_ip" else f"the {name}"
        connection.execute("select set_config(%s, %s, true)", (f"app.{name}", value))
    connection.execute(TENANT, ("said",))
    found = connection.execute(
        "select actor, acting_as, client_ip::text, user_agent, correlation_id, reason, actor_role,"
        " severity, compliance_category from audit.changes order by change_id desc limit 1"
    ).fetchone()
    assert found == (
        "the actor", "the role", "10.1.2.3/32", "the user_agent", "the correlation_id",
        "the reason", "postgres", "CRITICAL", "DATA_PROTECTION",
    )  # fmt: skip


@pytest.mark.parametrize("value", [None, ""])
def test_what_the_session_does_not_say_is_null(connection, value):
    for name in SETTINGS if value is not None else ():
        connection.execute("select set_config(%s, %s, true)", (f"app.{name}", value))
    connection.execute(TENANT, ("silent",))
    found = connection.execute(
        "select actor, acting_as, client_ip, client_ip_said, user_agent, correlation_id, reason"
        " from audit.changes order by change_id desc limit 1"
    ).fetchone()
    assert found == (None,) * 7


def test_an_address_that_is_none_is_kept_as_text(connection):
    connection.execute("set local app.client_ip = '999.1'")
    connection.execute(TENANT, ("odd",))
    found = connection.execute(
        "select client_ip, client_ip_said from audit.changes order by change_id desc limit 1"
    ).fetchone()
    assert found == (None, "999.1")


def test_what_is_rolled_back_is_not_in_the_audit(audited, connection):
    before = changes(connection)
    connection.execute(TENANT, ("never",))
    connection.rollback()
    assert changes(connection) == before


@pytest.mark.parametrize(
    "table", ["changes", "changes_default", "chain", "pii_access", "retention_runs"]
)
@pytest.mark.parametrize("statement", ["update {} set {} = {}", "delete from {}", "truncate {}"])
def test_the_audit_refuses_change_for_its_owner_too(audited, connection, table, statement):
    rows = {
        "changes_default": "insert into audit.changes (occurred_at, table_schema, table_name,"
        " operation, severity, compliance_category)"
        " values ('2001-01-01Z', 'a', 'b', 'INSERT', 'LOW', 'KYC')",
        "pii_access": "insert into audit.pii_access (customer_id, field, purpose, actor)"
        " values (gen_random_uuid(), 'email', 'notice', 'me')",
        "chain": "insert into audit.chain values (1000000, 1, now(), '5', sha256('x'), now())",
        "retention_runs": "insert into audit.retention_runs (run_id, policy_name, rule_version,"
        " strategy, is_dry_run, as_of, operator, status, started_at) values"
        " (gen_random_uuid(), 'x', 1, 'DELETE', true, now(), 'me', 'DONE', now())",
    }
    connection.execute(rows.get(table, TENANT.replace("%s", "'x'")))
    column = connection.execute(
        "select attname from pg_attribute where attrelid = ('audit.' || %s)::regclass"
        " and attnum > 0 and attidentity = '' order by attnum limit 1", (table,)
    ).fetchone()[0]  # fmt: skip
    with pytest.raises(errors.InsufficientPrivilege, match="refused"):
        connection.execute(statement.format(f"audit.{table}", column, column))


def test_bulk_rows_are_copied_at_more_than_20000_a_second(audited):
    """Twenty columns' worth of row, with the digest of all of them."""
    audited.do(
        "create table ledger.wide (id bigint primary key, a uuid, b uuid, c text, d timestamptz,"
        " e timestamptz, f bigint, g text, h text)",
        "select audit.attach('ledger.wide', 'DIGEST', 'FINANCIAL', 'LOW')",
    )
    number = 60_000
    rows = "".join(
        f"{n}\t0b7e7dee-8f0d-4a3a-9f0a-000000{n:06d}\t0b7e7dee-8f0d-4a3a-9f0a-000000{n:06d}\tOPEN"
        f"\t2026-01-01Z\t2026-01-01Z\t{n}\tUSD\tmerchant {n}\n"
        for n in range(number)
    )
    with psycopg.connect(audited.admin) as connection:
        began = time.monotonic()
        with connection.cursor() as cursor, cursor.copy("copy ledger.wide from stdin") as copy:
            copy.write(rows)
        took = time.monotonic() - began
    assert number / took > 20_000


def test_a_balance_is_recorded_by_its_postings_and_every_other_change_of_the_account_as_such(
    connection,
):
    def recorded(table: str, operation: str) -> int:
        return connection.execute(
            "select count(*) from audit.changes where table_name = %s and operation = %s",
            (table, operation),
        ).fetchone()[0]

    customer, account, entry = uuid4(), uuid4(), uuid4()
    connection.execute(
        "insert into customer.customers (customer_id, country) values (%s, 'US')", (customer,)
    )
    connection.execute(
        "insert into card.card_accounts (account_id, customer_id, currency, credit_limit_minor,"
        " opened_on) values (%s, %s, 'USD', 1000, '2024-01-01')",
        (account, customer),
    )
    postings = recorded("postings", "BATCH")
    fee = {"entry_id": entry, "entry_type": "FEE", "effective_at": datetime.now(UTC)}
    posting.post(
        connection,
        [fee],
        posting.move(entry, account, posting.house("FEE_INCOME", "USD"), 100, "USD"),
    )
    assert recorded("postings", "BATCH") == postings + 1
    assert recorded("card_accounts", "UPDATE") == 0
    connection.execute(
        "update card.card_accounts set posted_minor = 0 where account_id = %s", (account,)
    )
    assert recorded("card_accounts", "UPDATE") == 1
