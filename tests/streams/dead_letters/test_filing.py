"""Letters as rows of the database: filed once, and tied to what they were before."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from streams.dead_letters.agent import FILE
from streams.dead_letters.redriving import BEGIN, SENT, chosen
from tests.oltp.conftest import database, empty_database

__all__ = ["database", "empty_database"]
SEEN = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def desk(database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app, row_factory=dict_row, autocommit=True) as connection:
        yield connection


def put(connection: psycopg.Connection[Any], topic: str, offset: int, **other: Any) -> None:
    letter = {
        "topic": topic, "partition": 1, "offset": offset, "message_key": b"k",
        "message_value": b"\0\1", "error_class": "avro", "error": "avro: no", "schema_id": 7,
        "code_version": "1", "header_names": ["a", "b"], "header_values": [b"1", None],
        "seen_at": SEEN, "redrive_of": None, **other,
    }  # fmt: skip
    connection.execute(FILE, letter)


def rows(connection: psycopg.Connection[Any], topic: str) -> list[dict[str, Any]]:
    return connection.execute(
        'select * from ops.dead_letters where topic = %s order by "offset"', (topic,)
    ).fetchall()


def sent(connection: psycopg.Connection[Any], number: int, offset: int = 9) -> None:
    told = {"by": "ada", "why": "schema is there", "after": 9, "number": number}
    connection.execute(BEGIN, told)
    connection.execute(SENT, {"offset": offset, "number": number})


def test_a_letter_that_is_delivered_again_is_the_same_row_and_was_seen_later(desk) -> None:
    put(desk, "again", 5)
    put(desk, "again", 5, seen_at=SEEN + timedelta(hours=1), error="other")
    put(desk, "again", 5, seen_at=SEEN - timedelta(hours=1))
    (row,) = rows(desk, "again")
    assert (row["first_seen_at"], row["last_seen_at"]) == (SEEN, SEEN + timedelta(hours=1))
    assert (row["error"], row["attempts"], row["status"]) == ("avro: no", 1, "HELD")


def test_what_fails_again_is_a_letter_anew_and_the_old_one_says_so(desk) -> None:
    put(desk, "failing", 5)
    (first,) = rows(desk, "failing")
    sent(desk, first["dead_letter_id"])
    assert rows(desk, "failing")[0]["status"] == "RELEASED"
    later = {"redrive_of": first["dead_letter_id"], "seen_at": SEEN + timedelta(days=1)}
    put(desk, "failing", 9, **later)
    put(desk, "failing", 9, **later)
    old, new = rows(desk, "failing")
    assert (old["status"], new["status"]) == ("FAILED_AGAIN", "HELD")
    assert (new["attempts"], new["redrive_of"]) == (2, first["dead_letter_id"])
    assert (new["first_seen_at"], new["last_seen_at"]) == (SEEN, SEEN + timedelta(days=1))
    # Written down after it had failed: that stays.
    desk.execute(SENT, {"offset": 9, "number": first["dead_letter_id"]})
    assert rows(desk, "failing")[0]["status"] == "FAILED_AGAIN"


def test_a_header_alone_does_not_tie_another_message_to_a_letter(desk) -> None:
    put(desk, "forged", 5)
    (first,) = rows(desk, "forged")
    sent(desk, first["dead_letter_id"])
    put(desk, "forged", 9, redrive_of=first["dead_letter_id"], message_value=b"other")
    old, new = rows(desk, "forged")
    assert (old["status"], new["redrive_of"], new["attempts"]) == ("RELEASED", None, 1)


def test_only_what_is_held_is_chosen_by_topic_reason_or_id_in_the_order_of_the_topic(desk) -> None:
    for offset in (7, 5, 6):
        put(desk, "chosen", offset, error_class="avro" if offset < 7 else "wire_format")
    assert [letter.offset for letter in chosen(desk, topic="chosen")] == [5, 6, 7]
    five, six = chosen(desk, topic="chosen", reason="avro")
    sent(desk, five.number)
    assert [x.offset for x in chosen(desk, topic="chosen", reason="avro")] == [6]
    assert chosen(desk, [five.number]) == []
    assert chosen(desk, [six.number])[0].headers == [
        ("a", b"1"), ("b", None), ("dlq.redriven", str(six.number).encode())
    ]  # fmt: skip


def test_the_application_may_not_change_what_a_letter_is(desk) -> None:
    put(desk, "kept", 5)
    for column in ("message_value", "topic", "error"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            desk.execute(f"update ops.dead_letters set {column} = default")
