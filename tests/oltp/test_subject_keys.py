"""What it takes to open a sealed value, to change keys and to erase; nothing is in plain."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest

from millrace.stack import postgres
from oltp.privacy import PrivacyError, Subject, Vault, reading, rotation
from tests.oltp.people import CANARY, VAULT, become, insert, make_people, new_customer


@pytest.fixture(scope="module")
def people(database) -> dict[str, Subject]:
    return make_people(database.admin)


@pytest.fixture
def session(database, people) -> Iterator[psycopg.Connection]:
    """A superuser's session, to become others in; rolled back."""
    with psycopg.connect(database.admin) as connection:
        yield connection
        connection.rollback()


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
