"""A mapping that is not one is refused with its line, before a file is opened."""

from __future__ import annotations

import pytest

from oltp import importing
from tests.imports import bring

GOOD = """mapping: tiny
title: Tiny
currency: USD
codes:
  state:
    list: customer_status
    values: {a: ACTIVE, x: CLOSED}
files:
  people:
    file: people.csv
    key: id
    columns:
      id: whole
      land: country
      state: {type: one_of, codes: state}
into:
  - table: customer.customers
    from: people
    columns:
      customer_id: {id: person, of: id}
      country: land
      status: {code: state, of: state}
"""


def refused(database, tmp_path, text: str) -> str:
    (tmp_path / "tiny.yaml").write_text(text)
    with pytest.raises(importing.MappingError) as caught:
        bring(database, tmp_path / "tiny.yaml", tmp_path / "nowhere")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("table: customer.customers", "table: customer.clients", "17: there is no table customer."),
        ("country: land", "county: land", "21: customer.customers has no column county"),
        ("country: land", "country: lnd", "21: into[0].columns: lnd is no column of people"),
        ("land: country", "land: nation", "14: files.people.columns.land: nation is no type"),
        ("x: CLOSED", "x: GONE", "7: codes.state.values: GONE is no customer_status"),
        ("list: customer_status", "list: moods", "6: codes.state: moods is no list of codes"),
        ("currency: USD", "currency: XXX", "3: mapping: XXX is no known currency"),
        ("key: id", "key: nr", "11: files.people: nr is not among its columns"),
        ("from: people", "from: persons", "18: into[0]: persons is not among the files"),
        ("    key: id", "    key: id\n    colour: red", "12: files.people: colour is not known"),
        ("{code: state, of: state}", "{value: HAPPY}", "22: customer.customers.status: 'HAPPY' br"),
        ("{code: state, of: state}", "{eval: state}", "22: into[0].columns.status: says none of"),
        ("      country: land\n", "", "17: customer.customers.country needs a value"),
        ("table: customer.customers", "table: ledger.postings", "17: ledger.postings is written"),
        ("status: {code", "created_by: {code", "22: customer.customers has no column created_by"),
        ("  - table", "  - tabel", "17: into[0]: says none of table, entries, loans"),
        ("{type: one_of, codes: state}", "{type: one_of, codes: st}", "15: files.people.columns.s"),
        ("title: Tiny", "title: [Tiny", "tiny.yaml:3: "),
        ("      id: whole", "      id: whole\n      id: whole", "14: id is there twice"),
        ("of: id}", "of: id.name}", "20: into[0].columns: id of people refers to no other source"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_mapping_is_told_with_its_line(database, tmp_path, old, new, said):
    assert old in GOOD
    told = refused(database, tmp_path, GOOD.replace(old, new, 1))
    assert told.removeprefix("tiny.yaml:").startswith(said.removeprefix("tiny.yaml:")), told


def test_balances_and_keys_are_not_open_to_mappings(database, tmp_path):
    text = GOOD.replace("customer.customers", "card.card_accounts").replace(
        "      country: land\n      status: {code: state, of: state}\n",
        "      posted_minor: id\n",
    ).replace("customer_id: {", "account_id: {")  # fmt: skip
    assert "card.card_accounts.posted_minor is not open to imports" in refused(
        database, tmp_path, text
    )
    text = GOOD.replace("customer.customers", "customer.subject_keys")
    assert "customer.subject_keys is written by `person`" in refused(database, tmp_path, text)


def test_parents_come_before_what_refers_to_them(database, tmp_path):
    account = """  - table: card.card_accounts
    from: people
    columns:
      account_id: {id: account, of: id}
      customer_id: {id: person, of: id}
      currency: {value: USD}
      credit_limit_minor: id
      opened_on: {value: 2024-01-01}
"""
    text = GOOD.replace("into:\n", "into:\n" + account)
    assert "put customer.customers before it" in refused(database, tmp_path, text)


def test_a_name_that_is_no_mapping_is_told_those_there_are(database):
    with pytest.raises(importing.MappingError, match="berka, card_transactions, ofac"):
        importing.mapping_of("berkha")


@pytest.mark.parametrize("name", sorted(importing.shipped()))
def test_every_shipped_mapping_fits_the_database(database, name, tmp_path):
    with pytest.raises(importing.FileError, match="is not in"):
        bring(database, name, tmp_path)
