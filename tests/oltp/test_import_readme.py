"""A mapping of a user's own, word for word as the page on mappings shows it."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from oltp import importing
from tests.imports import VAULT, bring, digests

PAGE = Path(importing.__file__).parents[1] / "mappings" / "README.md"


@pytest.fixture
def example(tmp_path) -> Path:
    for name, text in re.findall(r"```\w+ (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_worked_example_does_what_the_page_says(empty_migrated, example):
    files = [example / name for name in ("people.csv", "accounts.csv", "book.csv")]
    report = bring(empty_migrated, example / "corner_bank.yaml", *files)
    assert (report.rows_read, report.rows_taken) == (7, 6)
    said = [str(rejection) for rejection in report.rejections]
    assert said == ["book.csv:4:account: there is no account A-9 [reference]"]
    assert said[0] in PAGE.read_text()
    with psycopg.connect(empty_migrated.admin) as connection:
        owed = connection.execute(
            "select c.external_ref, c.status, posted_minor, credit_limit_minor"
            " from card.card_accounts a join customer.customers c using (customer_id) order by 1"
        ).fetchall()
    assert owed == [
        ("corner:person:1", "ACTIVE", 990, 250_000),
        ("corner:person:2", "CLOSED", 0, 0),
    ]


def test_the_examples_personal_values_are_sealed_and_found_by_index(empty_migrated, example):
    bring(empty_migrated, example / "corner_bank.yaml", example)
    name, mail, masked, born = empty_migrated.one(
        "select full_name, email, email_masked, birth_year from customer.customers"
        " where email_index = %s",
        VAULT.blind_index("email", "ADA@example.org"),
    )
    assert name.startswith("enc:1:")
    assert mail.startswith("enc:1:")
    assert "ada@example.org" not in masked
    assert born == 1965


def test_the_example_imported_twice_is_there_once(empty_migrated, example):
    bring(empty_migrated, example / "corner_bank.yaml", example)
    before = digests(empty_migrated)
    assert set(bring(empty_migrated, example / "corner_bank.yaml", example).added.values()) == {0}
    assert digests(empty_migrated) == before


def test_every_key_and_type_of_the_page_exists():
    from oltp.importing import expressions, parsing

    page = PAGE.read_text()
    for word in (*parsing.MAKERS, *expressions.FORMS, *parsing.KINDS, *importing.shipped()):
        assert word in page, word
