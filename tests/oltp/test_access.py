"""Rows, masks and keys: who sees whose, and what it takes to open a sealed value."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from millrace.stack import postgres
from oltp.privacy import PrivacyError, Subject, Vault, reading, rotation, sealed_person
from schemas import access, contract

VAULT = Vault({1: bytes(range(32))}, bytes(range(32, 64)))
TENANT = UUID("00000000-0000-0000-0000-000000000001")
CANARY = {
    "full_name": "Canaria Vogelsang",
    "email": "canaria.vogelsang@canary.example",
    "phone": "+420777123987",
    "national_id": "CANARY-845-77-1",
    "birth_date": "1979-04-23",
}
# Tables that portal may read and that a customer owns, one path each in new_customer().
OWNED = (
    "customer.customers", "card.card_accounts", "card.cards", "customer.account_holders",
)  # fmt: skip


def new_customer(connection: psycopg.Connection, tenant: UUID = TENANT, **person: str) -> Subject:
    """A customer of the tenant with sealed values, its key, an account and a card."""
    subject = VAULT.new_subject(uuid4())
    row = {
        "customer_id": subject.customer_id,
        "tenant_id": tenant,
        "country": "CZ",
        **sealed_person(VAULT, subject, **person),
    }
    insert(connection, "customer.customers", row)
    insert(connection, "customer.subject_keys", subject.key_row())
    account, today = uuid4(), "2024-01-01"
    insert(
        connection,
        "card.card_accounts",
        {
            "account_id": account,
            "customer_id": subject.customer_id,
            "currency": "CZK",
            "credit_limit_minor": 1000,
            "opened_on": today,
        },
    )
    insert(
        connection,
        "card.cards",
        {
            "card_id": uuid4(),
            "account_id": account,
            "product": "CLASSIC",
            "issued_on": today,
            "expires_on": "2030-01-01",
        },
    )
    insert(
        connection,
        "customer.account_holders",
        {
            "account_holder_id": uuid4(),
            "account_id": account,
            "customer_id": subject.customer_id,
            "role": "OWNER",
        },
    )
    return subject


def insert(connection: psycopg.Connection, table: str, row: dict) -> None:
    names = [sql.Identifier(name) for name in row]
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(*table.split(".")),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        ),
        list(row.values()),
    )


@pytest.fixture(scope="module")
def people(database) -> dict[str, Subject]:
    """Two customers of one tenant and one of another."""
    with psycopg.connect(database.admin) as connection:
        other = uuid4()
        insert(connection, "customer.tenants", {"tenant_id": other, "name": "other"})
        return {
            "ada": new_customer(connection, **CANARY),
            "bob": new_customer(connection, email="bob@x.io", national_id="1"),
            "eve": new_customer(connection, other, email="eve@x.io"),
        }


@pytest.fixture
def session(database, people) -> Iterator[psycopg.Connection]:
    """A superuser's session, to become others in; rolled back."""
    with psycopg.connect(database.admin) as connection:
        yield connection
        connection.rollback()


def become(session: psycopg.Connection, role: str, **settings: str) -> psycopg.Connection:
    for name, value in settings.items():
        session.execute("select set_config(%s, %s, true)", (f"app.{name}", value))
    session.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
    return session


def count(session: psycopg.Connection, table: str) -> int:
    name = sql.Identifier(*table.split("."))
    return session.execute(sql.SQL("select count(*) from {}").format(name)).fetchone()[0]


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


# --- keys ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(database, postgres_only, people) -> str:
    """How pii_reader logs in to the module's database."""
    dsn = urlsplit(postgres_only.privileged["MILLRACE_PII_READER_DSN"])
    return dsn._replace(path=urlsplit(database.admin).path).geturl()


def accesses(database, customer_id: UUID) -> list[tuple]:
    with psycopg.connect(database.admin) as connection:
        return connection.execute(
            "select field, purpose, actor_role from audit.pii_access where customer_id = %s"
            " order by accessed_at, field",
            (customer_id,),
        ).fetchall()


def test_a_value_is_opened_by_the_reader_and_the_audit_knows_first(database, reader, people):
    ada = people["ada"].customer_id
    values = reading.open_person(reader, VAULT, ada, ["email", "birth_date"], "court order 7")
    assert values == {"email": CANARY["email"], "birth_date": "1979-04-23"}
    assert set(accesses(database, ada)[-2:]) == {
        ("email", "court order 7", "pii_reader"),
        ("birth_date", "court order 7", "pii_reader"),
    }


def test_an_opening_that_fails_is_known_to_the_audit_all_the_same(database, reader, people):
    bob = people["bob"].customer_id
    with pytest.raises(PrivacyError, match="MILLRACE_PII_KEYS"):
        reading.open_person(reader, Vault({9: bytes(32)}, bytes(32)), bob, ["email"], "screening")
    assert accesses(database, bob)[-1] == ("email", "screening", "pii_reader")


def test_no_reason_no_key(reader, people):
    ada = people["ada"].customer_id
    with pytest.raises(PrivacyError, match="needs a reason"):
        reading.open_person(reader, VAULT, ada, ["email"], "  ")
    with psycopg.connect(reader) as connection:
        for reason in ("", " ", None):
            with (
                pytest.raises(psycopg.errors.CheckViolation, match="needs a reason"),
                connection.transaction(),
            ):
                connection.execute(
                    "select customer.request_subject_key(%s, '{email}', %s)", (ada, reason)
                )


def test_a_reader_who_would_roll_the_audit_back_gets_no_key(reader, people):
    ask = "select customer.request_subject_key(%s, '{email}', 'curious')"
    with psycopg.connect(reader) as connection:
        (request,) = connection.execute(ask, (people["ada"].customer_id,)).fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no key for request"):
            connection.execute("select * from customer.open_subject_key(%s)", (request,))
        connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from customer.open_subject_key(%s)", (request,))


@pytest.mark.parametrize("role", ["app_rw", "support", "cdc", "auditor", "portal"])
def test_only_the_reader_may_ask_for_keys(session, people, role):
    become(session, role)
    for call in (
        "customer.request_subject_key(null, '{email}', 'x')",
        "customer.open_subject_key(null)",
        "customer.destroy_subject_key(null, 'x')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
            session.execute(f"select {call}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), session.transaction():
        session.execute("select wrapped_key from customer.subject_keys")


def test_find_shows_masks_and_nobody_for_an_unknown_value(database, people):
    found = reading.find(database.app, VAULT, "email", "BOB@x.io ")
    assert found == [(people["bob"].customer_id, "ACTIVE", "bo***@x.io", "")]
    assert reading.find(database.app, VAULT, "phone", "123456") == []


# --- erasure ------------------------------------------------------------------------------------


def test_a_key_stays_while_records_are_retained_and_goes_when_they_are_not(session):
    keeper = "set local role key_keeper"
    destroy = "select customer.destroy_subject_key(%s, 'asked for')"
    subject = new_customer(session, email="leaver@x.io")
    session.execute(keeper)
    with (
        pytest.raises(psycopg.errors.RestrictViolation, match="has not ended"),
        session.transaction(),
    ):
        session.execute(destroy, (subject.customer_id,))
    session.execute("reset role")
    for years, refused in ((1, True), (6, False)):
        session.execute(
            "update customer.customers set status = 'CLOSED',"
            " closed_at = now() - make_interval(years => %s) where customer_id = %s",
            (years, subject.customer_id),
        )
        session.execute(keeper)
        if refused:
            with (
                pytest.raises(psycopg.errors.RestrictViolation, match="five years"),
                session.transaction(),
            ):
                session.execute(destroy, (subject.customer_id,))
        else:
            session.execute(destroy, (subject.customer_id,))
        session.execute("reset role")
    left = session.execute(
        "select wrapped_key, destroyed_at is not null from customer.subject_keys"
        " where customer_id = %s",
        (subject.customer_id,),
    ).fetchone()
    assert left == (None, True)


def test_a_legal_hold_keeps_the_key_whatever_the_time(session):
    subject = new_customer(session, email="held@x.io")
    session.execute(
        "update customer.customers set status = 'CLOSED', closed_at = '2001-01-01'"
        " where customer_id = %s",
        (subject.customer_id,),
    )
    insert(
        session,
        "audit.legal_holds",
        {"customer_id": subject.customer_id, "reason": "suit 1 C 23", "placed_by": "counsel"},
    )
    session.execute("set local role key_keeper")
    with pytest.raises(psycopg.errors.RestrictViolation, match="legal hold"):
        session.execute(
            "select customer.destroy_subject_key(%s, 'asked for')", (subject.customer_id,)
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


# --- rotation and the canary: databases of their own ----------------------------------------------


def test_rotation_rewraps_every_key_goes_on_where_it_broke_off_and_frees_the_old_one(
    empty_migrated,
):
    with psycopg.connect(empty_migrated.admin) as connection:
        subjects = [new_customer(connection, email=f"c{n}@x.io") for n in range(3)]
    both = Vault({1: bytes(range(32)), 2: bytes(32)}, bytes(range(32, 64)))
    alone = Vault({2: bytes(32)}, bytes(range(32, 64)))
    with pytest.raises(PrivacyError, match="holds 2"):
        rotation.rewrap(empty_migrated.admin, alone)
    seen: list[tuple[int, int]] = []
    rotation.BATCH, before = 2, rotation.BATCH
    try:
        assert (
            rotation.rewrap(empty_migrated.admin, both, lambda *done: _stop_after(seen, done)) == 3
        )
    except KeyboardInterrupt:
        assert rotation.rewrap(empty_migrated.admin, both) == 1
    finally:
        rotation.BATCH = before
    assert seen == [(2, 3)]
    assert rotation.rewrap(empty_migrated.admin, both) == 0
    with psycopg.connect(empty_migrated.admin) as connection:
        rows = connection.execute(
            "select customer_id, wrapped_key, kek_version, email from customer.subject_keys"
            " join customer.customers using (customer_id)"
        ).fetchall()
    opened = {alone.open_subject(*row[:3]).open("email", row[3]) for row in rows}
    assert opened == {f"c{n}@x.io" for n in range(len(subjects))}


def _stop_after(seen: list, done: tuple[int, int]) -> None:
    seen.append(done)
    raise KeyboardInterrupt


def test_a_new_index_key_finds_everybody_again_after_reindexing(empty_migrated):
    with psycopg.connect(empty_migrated.admin) as connection:
        ada = new_customer(connection, **CANARY)
        new_customer(connection)
    renewed = Vault({1: bytes(range(32))}, bytes(32))
    assert reading.find(empty_migrated.app, renewed, "email", CANARY["email"]) == []
    assert rotation.reindex(empty_migrated.admin, renewed) == 1
    for field in ("email", "phone", "national_id"):
        (found,) = reading.find(empty_migrated.app, renewed, field, CANARY[field])
        assert found[0] == ada.customer_id
    assert rotation.reindex(empty_migrated.admin, renewed) == 0


def test_no_word_of_a_customer_is_in_the_database_in_plain(empty_migrated):
    """Tables, audit and log alike: a dump of everything, searched for every value."""
    with psycopg.connect(empty_migrated.admin) as connection:
        connection.execute("set role app_rw")
        subject = new_customer(connection, **CANARY)
        connection.execute(
            "update customer.customers set updated_at = now(), status = 'SUSPENDED'"
            " where customer_id = %s",
            (subject.customer_id,),
        )
    dump = subprocess.run(
        [postgres.binary("pg_dump"), "--data-only", "--inserts", empty_migrated.admin],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(subject.customer_id) in dump
    assert "ca***@canary.example" in dump
    assert subject.seal("email", CANARY["email"]) in dump
    digits = re.sub(r"\D", "", CANARY["phone"])
    for needle in (*CANARY.values(), "Canaria", "Vogelsang", "canaria", digits, "845771"):
        assert needle not in dump, needle
