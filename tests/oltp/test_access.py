"""Who sees whose rows, and which columns of them: row security, masks, and what nobody may move."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from oltp.privacy import Subject
from schemas import access, contract
from tests.oltp.people import (
    CANARY,
    TENANT,
    VAULT,
    become,
    count,
    insert,
    make_people,
    new_customer,
)

# Tables that portal may read and that a customer owns, one path each in new_customer().
OWNED = (
    "customer.customers", "card.card_accounts", "card.cards", "customer.account_holders",
)  # fmt: skip


@pytest.fixture(scope="module")
def people(database) -> dict[str, Subject]:
    return make_people(database.admin)


@pytest.fixture
def session(database, people) -> Iterator[psycopg.Connection]:
    """A superuser's session, to become others in; rolled back."""
    with psycopg.connect(database.admin) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("table", OWNED)
def test_portal_sees_its_tenants_rows_and_its_customers_when_it_says_which(session, people, table):
    become(session, "portal", tenant_id=str(TENANT))
    assert count(session, table) == 2
    session.execute(
        "select set_config('app.customer_id', %s, true)", (str(people["ada"].customer_id),)
    )
    assert count(session, table) == 1


@pytest.mark.parametrize("table", OWNED)
def test_another_tenants_customer_is_not_seen_by_naming_it(session, people, table):
    eve = str(people["eve"].customer_id)
    become(session, "portal", tenant_id=str(TENANT), customer_id=eve)
    assert count(session, table) == 0


@pytest.mark.parametrize("table", OWNED)
@pytest.mark.parametrize("said", [None, "", "not an id", "00000000", TENANT.hex])
def test_an_unset_empty_or_malformed_tenant_gives_no_rows_and_no_error(session, table, said):
    become(session, "portal", **({} if said is None else {"tenant_id": said}))
    assert count(session, table) == 0


@pytest.mark.parametrize("said", ["not an id", "' or true --"])
def test_a_malformed_customer_gives_no_rows_not_the_whole_tenant(session, said):
    become(session, "portal", tenant_id=str(TENANT), customer_id=said)
    assert count(session, "customer.customers") == 0


def test_what_a_pooled_connection_was_told_is_gone_with_the_transaction(database, people):
    parts = urlsplit(database.admin)
    with ConnectionPool(parts.geturl(), min_size=1, max_size=1, open=True) as pool:
        with pool.connection() as connection:
            become(connection, "portal", tenant_id=str(TENANT))
            assert count(connection, "customer.customers") == 2
            first = connection.info.backend_pid
        with pool.connection() as connection:
            assert connection.info.backend_pid == first
            become(connection, "portal")
            left = connection.execute("select current_setting('app.tenant_id', true)").fetchone()
            assert left == ("",)
            assert count(connection, "customer.customers") == 0


def test_portal_reads_every_table_it_is_granted(session):
    become(session, "portal", tenant_id=str(TENANT))
    granted = session.execute(
        "select distinct table_schema || '.' || table_name"
        " from information_schema.column_privileges"
        " where grantee = 'portal' and privilege_type = 'SELECT'"
    ).fetchall()
    assert len(granted) > 8
    for (table,) in granted:
        count(session, table)


def test_even_the_owner_sees_no_customers_rows(session):
    become(session, "millrace_owner")
    for table in OWNED:
        assert count(session, table) == 0


@pytest.mark.parametrize("role", ["app_rw", "cdc"])
def test_the_application_and_capture_see_all_rows(session, role):
    become(session, role)
    for table in OWNED:
        if role == "app_rw" or table in {c.source for c in contract.load_all()}:
            assert count(session, table) == 3


def test_everything_that_refers_to_a_customer_is_row_secured_even_against_its_owner(session):
    open_tables = session.execute(
        "with recursive belongs as (select 'customer.customers'::regclass::oid as oid union"
        " select f.conrelid from pg_constraint f join belongs b on b.oid = f.confrelid"
        " where f.contype = 'f')"
        " select c.oid::regclass::text from belongs join pg_class c using (oid)"
        " where not (c.relrowsecurity and c.relforcerowsecurity) and not c.relispartition"
    ).fetchall()
    assert open_tables == []


def test_support_sees_masks_and_never_a_sealed_column(session):
    become(session, "support")
    seen = session.execute(
        "select email, phone, birth_year from customer.customers_masked where email like 'ca%'"
    ).fetchone()
    assert seen == ("ca***@canary.example", "*****87", 1979)
    for column in ("full_name", "email", "phone", "national_id", "birth_date", "email_index"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
            session.execute(
                sql.SQL("select count(distinct {}) from customer.customers").format(
                    sql.Identifier(column)
                )
            )


def test_a_view_shows_its_caller_no_more_than_the_tables_do(session):
    """Also a view that a superuser owns: the caller's grants and policies count."""
    session.execute("grant select on customer.customers_masked to portal")
    session.execute("grant select (external_ref, closed_at) on customer.customers to portal")
    session.execute("alter view customer.customers_masked owner to postgres")
    become(session, "portal")
    assert count(session, "customer.customers_masked") == 0


def test_every_view_that_a_role_may_read_runs_as_its_caller(session):
    loose = session.execute(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind = 'v' and n.nspname = any (%s)"
        " and not coalesce('security_invoker=true' = any (c.reloptions), false)",
        (list(access.SCHEMAS),),
    ).fetchall()
    assert loose == []


def test_a_national_id_is_found_by_its_keyed_index_only(session, people):
    become(session, "app_rw")
    found = session.execute(
        "select customer_id from customer.customers where national_id_index = %s",
        (VAULT.blind_index("national_id", "canary 845 771"),),
    ).fetchall()
    assert found == [(people["ada"].customer_id,)]
    nothing = session.execute(
        "select from customer.customers where national_id_index = encode(sha256(%s), 'hex')",
        (CANARY["national_id"].encode(),),
    ).fetchall()
    assert nothing == []


def test_plaintext_is_refused_by_the_table(session):
    become(session, "app_rw")
    for column in ("full_name", "email", "phone", "national_id", "birth_date"):
        with pytest.raises(psycopg.errors.CheckViolation), session.transaction():
            insert(
                session,
                "customer.customers",
                {"customer_id": uuid4(), "country": "CZ", column: "ada@x.io"},
            )


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("card.card_accounts", "posted_minor"),
        ("card.card_accounts", "held_minor"),
        ("credit.active_credits", "outstanding_principal_minor"),
    ],
)
def test_the_application_cannot_move_a_balance(session, table, column):
    become(session, "app_rw")
    for statement in ("update {} set {} = 1 where false", "insert into {} ({}) values (5)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
            session.execute(
                sql.SQL(statement).format(sql.Identifier(*table.split(".")), sql.Identifier(column))
            )


def test_demographics_are_collected_by_the_application_and_read_by_fair_lending_only(session):
    become(session, "app_rw")
    subject = new_customer(session)
    session.execute(
        "insert into restricted.demographics (customer_id, source, collected_at)"
        " values (%s, 'SELF_REPORTED', now())",
        (subject.customer_id,),
    )
    for role, allowed in (("fair_lending", True), ("sar_officer", False), ("app_rw", False)):
        session.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        if allowed:
            assert count(session, "restricted.demographics") == 1
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
                count(session, "restricted.demographics")


def test_spec_defect_11_deleting_a_customer_with_records_is_refused(session, people):
    become(session, "app_rw")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        session.execute(
            "delete from customer.customers where customer_id = %s", (people["bob"].customer_id,)
        )


def test_spec_defect_11_no_foreign_key_cascades(session):
    cascading = session.execute(
        "select conrelid::regclass::text, conname from pg_constraint"
        " where contype = 'f' and (confdeltype <> 'a' or confupdtype <> 'a')"
    ).fetchall()
    assert cascading == []


def test_spec_defect_12_row_security_neither_fails_on_an_empty_setting_nor_spares_the_owner(
    session,
):
    session.execute("select set_config('app.tenant_id', '', true)")
    session.execute("select set_config('app.customer_id', '', true)")
    for role in ("portal", "millrace_owner"):
        session.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        assert count(session, "customer.customers") == 0
