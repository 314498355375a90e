"""The operational schema: it equals its contracts and gives nobody too much."""

from __future__ import annotations

import re

import psycopg
import pytest

from schemas import codes, contract
from tests.oltp.conftest import MIGRATIONS, migrate

POSTGRES_TYPE = {
    "uuid": "uuid",
    "string": ("text", "character"),
    "code": "text",
    "long": "bigint",
    "integer": "integer",
    "decimal": "numeric",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "boolean": "boolean",
    "json": "jsonb",
}
CONTRACTS = contract.load_all()


def test_migrations_apply_to_an_empty_database_and_a_second_run_changes_nothing(empty_database):
    made = empty_database()
    assert migrate(made.admin) == len(list(MIGRATIONS.glob("*.sql")))
    assert migrate(made.admin) == 0


@pytest.mark.parametrize("entity", CONTRACTS, ids=lambda c: c.entity)
def test_a_contract_has_the_columns_types_and_nulls_of_its_table(database, entity):
    schema, table = entity.source.split(".")
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "select column_name, data_type, is_nullable = 'NO', numeric_precision, numeric_scale"
            " from information_schema.columns where table_schema = %s and table_name = %s"
            " order by ordinal_position",
            (schema, table),
        ).fetchall()
    assert [row[0] for row in found] == [column.name for column in entity.columns]
    for column, (_, data_type, required, precision, scale) in zip(
        entity.columns, found, strict=True
    ):
        assert data_type in POSTGRES_TYPE[column.type], column.name
        assert required == column.required, column.name
        if column.type == "decimal":
            assert (precision, scale) == (column.precision, column.scale)


@pytest.mark.parametrize("entity", CONTRACTS, ids=lambda c: c.entity)
def test_a_contract_has_the_key_and_the_references_of_its_table(database, entity):
    with psycopg.connect(database.admin) as connection:
        constraints = connection.execute(
            "select contype, pg_get_constraintdef(oid) from pg_constraint"
            " where conrelid = %s::regclass",
            (entity.source,),
        ).fetchall()
    keys = [text for kind, text in constraints if kind == "p"]
    assert keys == [f"PRIMARY KEY ({', '.join(entity.key)})"]
    by_entity = {c.entity: c for c in CONTRACTS}
    for column in (column for column in entity.columns if column.references):
        other, name = column.references.split(".")
        wanted = f"FOREIGN KEY ({column.name}) REFERENCES {by_entity[other].source}({name})"
        assert wanted in [text for kind, text in constraints if kind == "f"]


@pytest.mark.parametrize("entity", CONTRACTS, ids=lambda c: c.entity)
def test_a_code_column_allows_exactly_the_codes_of_its_list(database, entity):
    with psycopg.connect(database.admin) as connection:
        checks = [
            row[0]
            for row in connection.execute(
                "select pg_get_constraintdef(oid) from pg_constraint"
                " where conrelid = %s::regclass and contype = 'c' and cardinality(conkey) = 1",
                (entity.source,),
            )
        ]
    for column in (column for column in entity.columns if column.type == "code"):
        lists = [c for c in checks if c.startswith(f"CHECK (({column.name} = ANY")]
        assert len(lists) == 1, column.name
        assert sorted(re.findall(r"'([^']+)'", lists[0])) == sorted(column.allowed), column.name


def test_refusals_in_sql_carry_the_response_codes_of_the_shared_list(database):
    source = (MIGRATIONS / "0009.decide_and_hold.sql").read_text()
    reasons = set(re.findall(r"then '([A-Z_]+)'", source))
    assert len(reasons) == 9
    for reason in reasons:
        code = database.one("select card.refusal_code(%s)", reason)[0]
        assert code == codes.RESPONSE_CODE[codes.Reason(reason)], reason


def test_every_contract_is_published_and_nothing_else_but_the_connectors_own_tables(database):
    with psycopg.connect(database.admin) as connection:
        published = {
            f"{schema}.{table}"
            for schema, table in connection.execute(
                "select schemaname, tablename from pg_publication_tables where pubname = 'millrace'"
            )
        }
    own = {"ops.outbox", "ops.heartbeat", "ops.signal"}
    assert published == {c.source for c in CONTRACTS} | own


def test_a_table_with_json_sends_whole_rows_or_is_never_updated(database):
    """A json value stored out of line arrives as a placeholder when an update leaves it alone."""
    for entity in CONTRACTS:
        if any(column.type == "json" for column in entity.columns):
            identity = database.one(
                "select relreplident::text from pg_class where oid = %s::regclass", entity.source
            )[0]
            may_update = database.one(
                "select has_any_column_privilege('app_rw', %s, 'update')", entity.source
            )[0]
            assert identity == "f" or not may_update, entity.entity


def run_as(database, role: str, statement: str) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(f"set role {role}")
        connection.execute(statement)
        connection.rollback()


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("app_rw", "update card.authorizations set decision = 'APPROVED'"),
        ("app_rw", "delete from card.authorizations"),
        ("app_rw", "update ledger.postings set amount_minor = 1"),
        ("app_rw", "delete from ledger.entries"),
        ("app_rw", "truncate credit.payments"),
        ("app_rw", "delete from card.card_accounts"),
        ("app_rw", "alter table credit.payments add column x text"),
        ("app_rw", "create table card.mine (x text)"),
        ("app_rw", "drop publication millrace"),
        ("cdc", "select * from card.card_spend"),
        ("cdc", "update customer.customers set status = 'CLOSED'"),
        ("cdc", "insert into ledger.entries default values"),
        ("cdc", "delete from ops.outbox"),
        ("cdc", "select card.decide_and_hold('[]')"),
    ],
)
def test_a_role_may_not(database, role, statement):
    with pytest.raises(
        (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
    ):
        run_as(database, role, statement)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        *(("cdc", f"select * from {c.source} limit 1") for c in CONTRACTS),
        ("cdc", "select * from ops.outbox"),
        (
            "cdc",
            "insert into ops.heartbeat values (1, now())"
            " on conflict (id) do update set beat_at = excluded.beat_at",
        ),
        ("cdc", "insert into ops.signal values ('s', 'log', null)"),
        ("app_rw", "select card.decide_and_hold('[]')"),
    ],
)
def test_a_role_may(database, role, statement):
    run_as(database, role, statement)
