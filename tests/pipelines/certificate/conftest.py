"""A captured table made for the test, its contract, and slots that are gone afterwards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from pipelines.certificate.source_state import SESSION
from pipelines.certificate.window import Change, Source, Window
from pipelines.visibility import Cut
from schemas.contract import Column, Contract

SCHEMA = "witnessed"
PUBLICATION = "witnessed"
TABLES = f"""
create schema {SCHEMA};
create type {SCHEMA}.mood as enum ('calm', 'angry');
create table {SCHEMA}.things (
    id integer, place char(3), words text, amount numeric(9,6), seen_at timestamptz,
    mood {SCHEMA}.mood, primary key (id, place)
);
create table {SCHEMA}.whole (id integer primary key, words text, count bigint);
alter table {SCHEMA}.whole replica identity full;
create table {SCHEMA}.months (
    id integer, seen_at timestamptz, words text, primary key (id, seen_at)
)   partition by range (seen_at);
create table {SCHEMA}.months_1 partition of {SCHEMA}.months
    for values from ('2026-01-01') to ('2026-02-01');
create table {SCHEMA}.months_2 (words text, seen_at timestamptz not null, id integer not null);
alter table {SCHEMA}.months attach partition {SCHEMA}.months_2
    for values from ('2026-02-01') to ('2026-03-01');
create table {SCHEMA}.unknown (id integer primary key);
create publication {PUBLICATION} for table {SCHEMA}.things, {SCHEMA}.whole, {SCHEMA}.months,
    {SCHEMA}.unknown with (publish_via_partition_root = true);
grant usage on schema {SCHEMA} to cdc;
grant select on all tables in schema {SCHEMA} to cdc;
"""


def _contract(table: str, key: tuple[str, ...], **types: str) -> Contract:
    columns = tuple(
        Column(name, kind, "", **({"precision": 9, "scale": 6} if kind == "decimal" else {}))
        for name, kind in types.items()
    )
    return Contract(table, "", f"{SCHEMA}.{table}", key, key[0], "", "", columns)


THINGS = _contract(
    "things", ("id", "place"), id="integer", place="string", words="string", amount="decimal",
    seen_at="timestamp", mood="string",
)  # fmt: skip
WHOLE = _contract("whole", ("id",), id="integer", words="string", count="long")
MONTHS = _contract("months", ("id", "seen_at"), id="integer", seen_at="timestamp", words="string")
CONTRACTS = (THINGS, WHOLE, MONTHS)


@dataclass
class Witnessed:
    """The database with the tables above."""

    dsn: str
    warehouse_dsn: str
    slots: list[str] = field(default_factory=list)

    def connect(self, **options: Any) -> psycopg.Connection:
        return psycopg.connect(self.dsn, autocommit=True, **options)

    def slot(self, plugin: str = "pgoutput") -> str:
        name = f"witness_test_{len(self.slots)}"
        self.slots.append(name)
        with self.connect() as connection:
            connection.execute("select pg_create_logical_replication_slot(%s, %s)", (name, plugin))
        return name

    def window(self, slot: str, since: Cut, upto: Cut) -> Window:
        source = Source(self.dsn, slot, PUBLICATION)
        return Window(source, since, upto, CONTRACTS)

    def cut(self) -> Cut:
        """As cut.take, without the totals of the real tables."""
        with psycopg.connect(self.dsn, options=SESSION) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            snapshot = connection.execute("select pg_current_snapshot()::text").fetchone()
            lsn = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
        assert snapshot is not None
        assert lsn is not None
        return Cut.from_snapshot(int(lsn[0]), snapshot[0])

    def changes(self, *statements: str) -> list[Change]:
        """What the witness sees of these statements, each its own transaction."""
        slot, since = self.slot(), self.cut()
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)
        found = list(self.window(slot, since, self.cut()).changes())
        self.drop(slot)
        return found

    def advance(self, slot: str, lsn: int) -> None:
        with self.connect() as connection:
            connection.execute(
                "select pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s::numeric)", (slot, lsn)
            )

    def drop(self, slot: str) -> None:
        with self.connect() as connection:
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where slot_name = %s",
                (slot,),
            )


@pytest.fixture(scope="module")
def witnessed(postgres_only: Any) -> Iterator[Witnessed]:
    env = postgres_only.env
    database = Witnessed(env["MILLRACE_OLTP_ADMIN_DSN"], env["MILLRACE_WAREHOUSE_DSN"])
    with database.connect() as connection:
        connection.execute(TABLES)
    yield database
    for slot in database.slots:
        database.drop(slot)
    with database.connect() as connection:
        connection.execute(f"drop publication {PUBLICATION}")
        connection.execute(f"drop schema {SCHEMA} cascade")


@pytest.fixture
def emptied(witnessed: Witnessed) -> Callable[[], Witnessed]:
    with witnessed.connect() as connection:
        connection.execute(f"truncate {SCHEMA}.things, {SCHEMA}.whole, {SCHEMA}.months")
    return witnessed
