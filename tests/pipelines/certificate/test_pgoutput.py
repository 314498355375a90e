"""The parser on bytes that Postgres sent, on every kind of message, and on broken ones."""

import struct
from collections.abc import Iterator

import pytest

from pipelines.certificate import pgoutput
from pipelines.certificate.canonical import UNCHANGED
from pipelines.certificate.pgoutput import (
    Aside,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Parser,
    PgoutputError,
    Relation,
    Truncate,
    Update,
)  # fmt: skip
from tests.pipelines.certificate.conftest import PUBLICATION

STATEMENTS = (
    "insert into witnessed.things values (1, 'a', null, 1, null, 'angry')",
    "insert into witnessed.things select 2, 'b', string_agg(md5(n::text), '')"
    " from generate_series(1, 700) as n",
    "update witnessed.things set amount = 2 where id = 2",
    "update witnessed.things set id = 3 where id = 1",
    "delete from witnessed.things",
    "insert into witnessed.whole values (1, 'ž', 5)",
    "update witnessed.whole set count = 6",
    "delete from witnessed.whole",
    "truncate witnessed.things, witnessed.whole restart identity cascade",
    "select pg_logical_emit_message(true, 'prefix', 'content')",
)


@pytest.fixture(scope="module")
def raw(witnessed) -> Iterator[list[bytes]]:
    """What Postgres sends for these statements, with application messages."""
    slot = witnessed.slot()
    with witnessed.connect() as connection:
        connection.execute("select pg_replication_origin_create('elsewhere')")
        for statement in STATEMENTS:
            connection.execute(statement)
        connection.execute("select pg_replication_origin_session_setup('elsewhere')")
        connection.execute("insert into witnessed.unknown values (1)")
        connection.execute("select pg_replication_origin_session_reset()")
        found = connection.execute(
            "select data from pg_logical_slot_peek_binary_changes(%s, null, null,"
            " 'proto_version', %s, 'publication_names', %s, 'messages', 'true')",
            (slot, pgoutput.PROTOCOL, PUBLICATION),
        ).fetchall()
        yield [bytes(row[0]) for row in found]
        connection.execute("select pg_replication_origin_drop('elsewhere')")


@pytest.fixture(scope="module")
def messages(raw) -> list[Message]:
    parser = Parser()
    return [parser.read(data) for data in raw]


def of(messages: list[Message], kind: type, table: str = "") -> list:
    return [
        m for m in messages
        if isinstance(m, kind) and (not table or m.relation.table == table)  # type: ignore[union-attr]
    ]  # fmt: skip


def test_transactions_open_and_close(messages) -> None:
    begins, commits = of(messages, Begin), of(messages, Commit)
    assert len(begins) == len(commits) == len(STATEMENTS) + 1
    for begin, commit in zip(begins, commits, strict=True):
        assert begin.final_lsn == commit.lsn < commit.end_lsn
        assert begin.committed_at_us == commit.committed_at_us
    assert [b.xid for b in begins] == sorted(b.xid for b in begins)


def test_relations_describe_their_columns(messages) -> None:
    relations = {r.table: r for r in of(messages, Relation)}
    things, whole = relations["things"], relations["whole"]
    assert things.name == "witnessed.things"
    assert (things.replica_identity, whole.replica_identity) == ("d", "f")
    assert [c.name for c in things.columns if c.is_identity] == ["id", "place"]
    assert all(c.is_identity for c in whole.columns)
    assert {c.name: c.type_oid for c in things.columns}["words"] == 25


def test_rows_have_their_values_and_what_was_before(messages) -> None:
    first, second = of(messages, Insert, "things")
    assert first.new == ("1", "a  ", None, "1.000000", None, "angry")
    long = second.new[2]
    assert len(long) == 22_400
    quiet, moved = of(messages, Update, "things")
    assert (quiet.old_kind, quiet.old) == (None, ())
    assert quiet.new[:4] == ("2", "b  ", UNCHANGED, "2.000000")
    assert (moved.old_kind, moved.old[:2], moved.new[:2]) == ("K", ("1", "a  "), ("3", "a  "))
    (full,) = of(messages, Update, "whole")
    assert (full.old_kind, full.old, full.new) == ("O", ("1", "ž", "5"), ("1", "ž", "6"))
    assert {d.old_kind for d in of(messages, Delete, "things")} == {"K"}
    assert of(messages, Delete, "whole")[0].old == ("1", "ž", "6")


def test_truncates_name_their_tables(messages) -> None:
    (truncate,) = of(messages, Truncate)
    assert {r.table for r in truncate.relations} == {"things", "whole"}
    assert (truncate.cascade, truncate.restart_identity) == (True, True)


def test_what_carries_no_row_is_read_too(messages) -> None:
    asides = {(a.kind, a.text) for a in of(messages, Aside)}
    assert asides >= {("Y", "witnessed.mood"), ("O", "elsewhere"), ("M", "prefix")}


def test_a_message_cut_short_or_too_long_is_an_error(raw) -> None:
    parser = Parser()
    for data in raw:
        if data[:1] == b"R":
            parser.read(data)
    for data in raw:
        for end in {0, 1, 5, len(data) // 2, len(data) - 1} - {len(data)}:
            with pytest.raises(PgoutputError):
                parser.read(data[:end])
        with pytest.raises(PgoutputError, match="too many"):
            parser.read(data + b"\0")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"S" + bytes(8), "message of kind 'S'"),
        (b"I" + struct.pack(">I", 77) + b"N", "relation 77"),
        (b"R" + struct.pack(">I", 1) + b"s\0t\0d" + struct.pack(">H", 9), "cut short"),
    ],
)
def test_what_is_not_understood_is_an_error(data, said) -> None:
    with pytest.raises(PgoutputError, match=said):
        Parser().read(data)


def test_a_binary_field_or_another_number_of_columns_is_an_error(raw) -> None:
    parser = Parser()
    relation = next(r for r in map(parser.read, raw) if isinstance(r, Relation))
    head = b"I" + struct.pack(">I", relation.oid) + b"N"
    with pytest.raises(PgoutputError, match="binary"):
        parser.read(head + struct.pack(">H", len(relation.columns)) + b"b" + bytes(4))
    with pytest.raises(PgoutputError, match="columns, a row 1"):
        parser.read(head + struct.pack(">H", 1) + b"n")
