"""`millrace pii`: what is opened is audited, what is found stays masked, keys change in place."""

from __future__ import annotations

import base64
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from millrace import current
from millrace.commands import pii
from oltp import settings
from oltp.privacy import Vault, sealed_person


@pytest.fixture
def customer(postgres_only, monkeypatch) -> str:
    """A customer of the stack's database, and the environment of `millrace pii`."""
    given = {**postgres_only.env, **postgres_only.privileged}
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    vault = Vault.from_settings(settings.read())
    subject = vault.new_subject(uuid4())
    person = sealed_person(
        vault, subject, full_name="Žofie Nová", national_id=f"ID-{subject.customer_id}"
    )
    with psycopg.connect(given["MILLRACE_OLTP_DSN"]) as connection:
        connection.execute(
            "insert into customer.customers (customer_id, country, full_name, national_id,"
            " national_id_index) values (%s, 'CZ', %s, %s, %s)",
            (
                subject.customer_id,
                person["full_name"],
                person["national_id"],
                person["national_id_index"],
            ),
        )
        connection.execute(
            "insert into customer.subject_keys (customer_id, wrapped_key, kek_version)"
            " values (%(customer_id)s, %(wrapped_key)s, %(kek_version)s)",
            subject.key_row(),
        )
    return str(subject.customer_id)


def run(*words: str):
    return CliRunner().invoke(pii.app, list(words))


def test_show_prints_the_values_and_leaves_a_trace_of_each(postgres_only, customer):
    shown = run("show", customer, "--reason", "letter came back", "--field", "full_name")
    assert (shown.exit_code, shown.output) == (0, "full_name\tŽofie Nová\n")
    with psycopg.connect(postgres_only.privileged["MILLRACE_AUDITOR_DSN"]) as connection:
        seen = connection.execute(
            "select field, purpose, actor_role from audit.pii_access where customer_id = %s",
            (customer,),
        ).fetchall()
    assert seen == [("full_name", "letter came back", "pii_reader")]


def test_show_refuses_an_empty_reason_and_an_unknown_customer(customer):
    refused = run("show", customer, "--reason", " ")
    assert (refused.exit_code, "needs a reason" in refused.stderr) == (1, True)
    unknown = run("show", str(uuid4()), "--reason", "x")
    assert (unknown.exit_code, "there is no customer" in unknown.stderr) == (1, True)
    assert run("show", customer).exit_code == 2


def test_find_knows_a_customer_by_its_number_and_shows_no_plain_value(customer):
    found = run("find", "--national-id", f"id {customer}".replace("-", " ").upper())
    assert found.exit_code == 0
    assert customer in found.output
    assert "Žofie" not in found.output
    assert run("find", "--email", "nobody@x.io").output == "nobody\n"
    assert run("find").exit_code == 2


def test_rotate_moves_every_key_to_the_last_version(postgres_only, customer, monkeypatch):
    keys = postgres_only.privileged["MILLRACE_PII_KEYS"]
    second = base64.b64encode(bytes(range(32))).decode()
    monkeypatch.setattr(pii, "addresses", lambda *parts: postgres_only.env)
    monkeypatch.setenv("MILLRACE_PII_KEYS", f"{keys},2:{second}")
    assert "wrapped by version 2" in run("rotate").output
    monkeypatch.setenv("MILLRACE_PII_KEYS", f"2:{second}")
    shown = run("show", customer, "--reason", "x", "--field", "full_name")
    assert shown.output == "full_name\tŽofie Nová\n"
    # And back, for the tests after this one.
    monkeypatch.setenv("MILLRACE_PII_KEYS", f"2:{second},{keys}")
    assert run("rotate").exit_code == 0
    assert run("rotate", "--index").output == "0 customers have new indexes\n"


def test_missing_keys_are_named(customer, monkeypatch):
    monkeypatch.delenv("MILLRACE_PII_KEYS")
    refused = run("find", "--email", "a@x.io")
    assert (refused.exit_code, "MILLRACE_PII_KEYS is not set" in refused.stderr) == (1, True)


def test_only_commands_that_need_them_are_given_keys():
    given_keys = {name for name, given in current.GIVEN.items() if "MILLRACE_PII_KEYS" in given}
    assert given_keys == {"simulate", "import", "pii"}
