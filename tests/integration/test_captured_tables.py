"""Every captured table on real services: a row made, changed and removed arrives on its topic.

A stack of its own: the rows are made from the catalog alone, so checks, references and append-only
triggers are out of the way here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from schemas import contract
from tests.conftest import temporary_stack
from tests.topic_log import Log, Message

pytestmark = pytest.mark.stack

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "uuid": uuid4,
    "text": lambda: f"x-{uuid4()}",
    "sealed": lambda: f"enc:1:{uuid4().hex}",
    "blind_index": lambda: uuid4().hex * 2,
    "bigint": lambda: 9007199254740993,
    "integer": lambda: 7,
    "numeric": lambda: Decimal("0.25"),
    "date": lambda: date(2026, 1, 2),
    "timestamp with time zone": lambda: AT,
    "boolean": lambda: True,
    "jsonb": lambda: Jsonb({"a": [1]}),
    "inet": lambda: "127.0.0.1",
}
COLUMNS = """
select column_name, coalesce(domain_name, data_type), character_maximum_length
from information_schema.columns
where table_schema = %s and table_name = %s and is_identity = 'NO' order by ordinal_position
"""
CHECKS = """
select conrelid::regclass::text, conname from pg_constraint
where contype in ('c', 'x') and conrelid <> 0 and coninhcount = 0
    and connamespace::regnamespace::text = any(%s)
"""


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    """Reads the topics of a stack in which one row of each table has come and gone."""
    for stack in temporary_stack(("connect",)):
        with psycopg.connect(stack.env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True) as admin:
            schemas = sorted({c.source.split(".")[0] for c in contract.load_all()})
            for table, name in admin.execute(CHECKS, (schemas,)).fetchall():
                admin.execute(f'alter table {table} drop constraint "{name}" cascade')
            admin.execute("set session_replication_role = replica")
            for captured in contract.load_all():
                come_and_go(admin, captured)
        yield Log(stack.env)


def come_and_go(admin: psycopg.Connection, captured: contract.Contract) -> None:
    """Insert, update and delete one row."""
    table = sql.Identifier(*captured.source.split("."))
    row = {
        name: f"{uuid4().hex}"[:length] if length else VALUES[kind]()
        for name, kind, length in admin.execute(COLUMNS, captured.source.split(".")).fetchall()
    }
    for name in row.keys() & set(re.findall(r"\w+", captured.replica_identity_reason or "")):
        # Of free length: stored out of line, and left alone by the update.
        long = "".join(uuid4().hex for _ in range(500))
        row[name] = Jsonb({"a": long}) if isinstance(row[name], Jsonb) else long
    admin.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            table,
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        ),
        list(row.values()),
    )
    where = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(row[name]))
        for name in captured.key
    )
    column = next(name for name in reversed(row) if name not in captured.key)
    admin.execute(
        sql.SQL("update {} set {} = {} where {}").format(
            table, sql.Identifier(column), sql.Identifier(column), where
        )
    )
    assert admin.execute(sql.SQL("delete from {} where {}").format(table, where)).rowcount == 1


@pytest.mark.parametrize("captured", contract.load_all(), ids=lambda c: c.entity)
def test_a_row_made_changed_and_removed_arrives(log: Log, captured: contract.Contract) -> None:
    messages = log.until(captured.topic, lambda found: len(mine(found)) >= 4)
    made, changed, removed, end = mine(messages)[-4:]
    assert [m.kind for m in (made, changed, removed, end)] == ["c", "u", "d", "tombstone"]
    assert {tuple(m.key) for m in (made, changed, removed, end)} == {captured.key}
    columns = [column.name for column in captured.columns]
    for message in (made, changed):
        assert list(message.value["after"]) == columns
        assert "__debezium_unavailable_value" not in str(message.value["after"])
    assert removed.value["after"] is None
    # Where the whole old row is sent it is the row that was; elsewhere only its key counts.
    if captured.replica_identity == "full":
        assert changed.value["before"] == made.value["after"]


def mine(messages: list[Message]) -> list[Message]:
    """What was streamed; rows that migrations made came with the snapshot."""
    return [m for m in messages if m.value is None or m.value["op"] != "r"]
