"""A dead letter says where the message was and why it is here, and is read back as a row."""

from types import SimpleNamespace

from aiokafka.structs import ConsumerRecord

from streams.codec import Undecodable
from streams.dead_letters import agent, letters

RECORD = ConsumerRecord("t", 2, 41, 0, 0, b"k", b"\xff\x00", None, 1, 2, ())


def letter(headers: list[tuple[str, bytes]]) -> SimpleNamespace:
    return SimpleNamespace(
        topic="t.dlq", partition=0, offset=7, key=b"k", value=b"\xff\x00", headers=headers
    )


def test_a_letter_becomes_the_row_of_its_original_place_with_its_bytes() -> None:
    described = letters.describe(RECORD, Undecodable("avro", "EOFError: \0 end", 3_000_000_000))
    row = agent.read(letter([(name, text.encode()) for name, text in described.items()]))
    assert (row["topic"], row["partition"], row["offset"]) == ("t", 2, 41)
    assert (row["message_key"], row["message_value"]) == (b"k", b"\xff\x00")
    assert (row["error_class"], row["schema_id"]) == ("avro", 3_000_000_000)
    assert row["error"] == "avro: EOFError: \\0 end"


def test_a_message_that_is_no_letter_of_ours_is_filed_under_its_own_place() -> None:
    row = agent.read(letter([("dlq.partition", b"x"), ("other", b"\xff")]))
    assert (row["topic"], row["partition"], row["offset"]) == ("t.dlq", 0, 7)
    assert (row["error_class"], row["schema_id"]) == ("unknown", None)
