"""The operational schema: it equals its contracts and gives nobody too much."""

from __future__ import annotations

import re

import psycopg
import pytest

from schemas import codes, contract
from tests.oltp.conftest import MIGRATIONS, migrate

POSTGRES_TYPE = {
    "uuid": "uuid",
    "string": ("text", "character", "inet"),
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
    source = (MIGRATIONS / "0009.judge.sql").read_text()
    reasons = {
        reason
        for reason in re.findall(r"then '([A-Z_]+)'", source)
        if not reason.endswith("APPROVED") and not reason.startswith("STAND_IN")
    }
    assert len(reasons) == 11
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


SCHEMAS = [
    "customer", "provider", "credit", "card", "kyc", "risk", "ledger", "audit", "ops", "restricted",
]  # fmt: skip
# What a column of a table may be; a partition has its table's columns.
COLUMNS = """
    select n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
        format_type(coalesce(nullif(t.typbasetype, 0), t.oid), nullif(a.atttypmod, -1)), t.typelem
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace join pg_type t on t.oid = a.atttypid
    where c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0
        and not a.attisdropped and n.nspname = any (%s)
"""


@pytest.fixture(scope="module")
def columns(database) -> list[tuple[str, str, str]]:
    """Table, column and type of every column of every table of ours."""
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(COLUMNS, (SCHEMAS,)).fetchall()
    assert len(found) > 500
    return [(table, column, base) for table, column, _, base, _ in found]


def test_no_number_is_without_bounds_and_none_is_a_float(columns):
    """An unconstrained numeric arrives as a structure of unknown scale; a float bends money."""
    wrong = ("numeric", "real", "double precision", "money")
    assert [c for c in columns if c[2] in wrong] == []


def test_no_timestamp_is_without_a_time_zone(columns):
    assert [c for c in columns if "without time zone" in c[2]] == []


def test_no_captured_table_has_an_array(columns):
    captured = {entity.source for entity in CONTRACTS}
    assert [c for c in columns if c[0] in captured and c[2].endswith("[]")] == []


def test_every_numeric_column_refuses_nan(database, columns):
    """NaN is greater than every number: an upper bound keeps it out, a lower one alone does not."""
    with psycopg.connect(database.admin) as connection:
        checks = connection.execute(
            "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
            " where contype = 'c'"
        ).fetchall()
    numeric = [c for c in columns if c[2].startswith("numeric")]
    assert numeric
    for table, column, _ in numeric:
        refuses = re.compile(rf"\b{column} (<> 'NaN'::|<= \()")
        assert [text for of, text in checks if of == table and refuses.search(text)], (
            f"{table}.{column}"
        )


def test_every_amount_has_a_currency_beside_it(columns):
    by_table: dict[str, set[str]] = {}
    for table, column, _ in columns:
        by_table.setdefault(table, set()).add(column)
    # Amounts of these are in the currency of the row that they are about.
    parts = {
        "credit.receipt_allocations",
        "card.programs",
        "card.spend_counters",
        "ledger.credit_limits",
        "ledger.reconciliation_runs",
    }
    without = {
        table
        for table, names in by_table.items()
        if any(name.endswith("_minor") for name in names) and "currency" not in names
    }
    assert without <= parts


def test_no_foreign_key_cascades(database):
    with psycopg.connect(database.admin) as connection:
        cascading = connection.execute(
            "select conrelid::regclass::text, conname from pg_constraint"
            " where contype = 'f' and (confdeltype <> 'a' or confupdtype <> 'a')"
        ).fetchall()
    assert cascading == []


def test_every_list_of_codes_in_the_database_is_one_of_the_shared_lists(database):
    """Captured tables name their list in their contract; here is every other table as well."""
    shared = {frozenset(codes.values(name)) for name in codes.BY_NAME}
    with psycopg.connect(database.admin) as connection:
        checks = connection.execute(
            "select c.conrelid::regclass::text, a.attname, pg_get_constraintdef(c.oid)"
            " from pg_constraint c join pg_class t on t.oid = c.conrelid"
            " join pg_attribute a on a.attrelid = t.oid and a.attnum = c.conkey[1]"
            " where c.contype = 'c' and cardinality(c.conkey) = 1 and not t.relispartition"
            " and t.relnamespace::regnamespace::text = any (%s)",
            (SCHEMAS,),
        ).fetchall()
    lists = {
        f"{table}.{column}": frozenset(re.findall(r"'([^']+)'", text))
        for table, column, text in checks
        if text.startswith(f"CHECK (({column} = ANY (ARRAY[")
    }
    assert len(lists) > 60
    assert {column: sorted(found) for column, found in lists.items() if found not in shared} == {}


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
        ("cdc", "select * from card.spend_counters"),
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
        ("cdc", "delete from ops.signal where id = 's'"),
        ("app_rw", "select card.decide_and_hold('[]')"),
    ],
)
def test_a_role_may(database, role, statement):
    run_as(database, role, statement)
