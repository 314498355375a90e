"""What is captured: each table by a decision, and its old rows as its contract says."""

from __future__ import annotations

import re

import psycopg
import pytest

from connectors import config
from schemas import contract
from tests.oltp.conftest import MIGRATIONS

MIGRATION = MIGRATIONS / "0014.capture.sql"
IDENTITY = {"default": "d", "full": "f"}


@pytest.fixture(scope="module")
def published(database) -> set[str]:
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "select schemaname || '.' || tablename from pg_publication_tables"
            " where pubname = 'millrace'"
        )
        return {name for (name,) in rows}


def test_every_contract_is_published_and_everything_published_has_a_contract(published):
    assert published == set(config.captured_tables())


def test_what_is_not_published_is_named_with_its_reason(database, published):
    """A new table fails here until somebody decides."""
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "select n.nspname || '.' || c.relname from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = any(%s)",
            (["customer", "provider", "credit", "card", "kyc", "risk", "ledger", "audit", "ops",
              "restricted"],),
        )  # fmt: skip
        tables = {name for (name,) in rows}
    head = MIGRATION.read_text().partition("-- depends")[0]
    listed = set(re.findall(r"\b([a-z]+\.(?:[a-z_]+|\*))(?=[,:])", head))
    left = {name for name in tables - published if f"{name.split('.')[0]}.*" not in listed}
    assert left == {name for name in listed if not name.endswith("*")}


def test_partitions_send_under_the_name_of_their_table(database):
    sent_as_root = "select pubviaroot from pg_publication where pubname = 'millrace'"
    assert database.one(sent_as_root) == (True,)


@pytest.mark.parametrize("captured", contract.load_all(), ids=lambda c: c.entity)
def test_a_table_sends_of_its_old_rows_what_its_contract_says(database, captured):
    query = "select relreplident::text from pg_class where oid = %s::regclass"
    assert database.one(query, captured.source) == (IDENTITY[captured.replica_identity],)
    # The reason names the columns that are of free length.
    said = set(re.findall(r"\w+", captured.replica_identity_reason or ""))
    if captured.replica_identity == "full":
        assert said & {column.name for column in captured.columns}


def test_a_table_that_sends_its_key_has_one(database):
    with psycopg.connect(database.admin) as connection:
        without = connection.execute(
            "select t.schemaname || '.' || t.tablename from pg_publication_tables t"
            " where not exists (select from pg_index i where i.indisprimary"
            " and i.indrelid = format('%I.%I', t.schemaname, t.tablename)::regclass)"
        ).fetchall()
    assert without == []


def test_nothing_captured_holds_an_array_or_a_number_without_bounds(database):
    """Debezium drops arrays that are stored out of line, and sends such numbers as records."""
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "select c.table_schema || '.' || c.table_name || '.' || c.column_name"
            " from information_schema.columns c join pg_publication_tables t"
            " on (t.schemaname, t.tablename) = (c.table_schema, c.table_name)"
            " where c.data_type = 'ARRAY'"
            " or (c.data_type = 'numeric' and c.numeric_precision is null)"
        ).fetchall()
    assert found == []
