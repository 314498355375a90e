"""A dead letter says where the message was and why it is here, and is read back as a row."""

from types import SimpleNamespace

from aiokafka.structs import ConsumerRecord

from streams.codec import Undecodable
from streams.dead_letters import agent, letters

OWN = (("traceparent", b"00-1"), (letters.TOPIC, b"not ours"), (letters.REDRIVEN, b"7"))
RECORD = ConsumerRecord("t", 2, 41, 0, 0, b"k", b"\xff\x00", None, 1, 2, OWN)


def letter(headers: list[tuple[str, bytes]]) -> SimpleNamespace:
    return SimpleNamespace(
        topic="t.dlq", partition=0, offset=7, key=b"k", value=b"\xff\x00", headers=headers
    )


def filed(error: Exception) -> dict[str, object]:
    described = letters.describe(RECORD, error)
    mine = [(name, text.encode()) for name, text in described.items()]
    return agent.read(letter([*mine, *RECORD.headers]))


def test_a_letter_becomes_the_row_of_its_original_place_with_its_bytes() -> None:
    row = filed(Undecodable("avro", "EOFError: \0 end", 3_000_000_000))
    assert (row["topic"], row["partition"], row["offset"]) == ("t", 2, 41)
    assert (row["message_key"], row["message_value"]) == (b"k", b"\xff\x00")
    assert (row["error_class"], row["schema_id"]) == ("avro", 3_000_000_000)
    assert row["error"] == "avro: EOFError: \\0 end"


def test_the_headers_of_the_message_are_kept_apart_from_those_of_the_letter() -> None:
    row = filed(ValueError("no"))
    assert (row["topic"], row["schema_id"]) == ("t", None)
    assert list(zip(row["header_names"], row["header_values"], strict=True)) == list(OWN)
    assert row["redrive_of"] == 7


def test_a_message_that_is_no_letter_of_ours_is_filed_under_its_own_place() -> None:
    row = agent.read(letter([("dlq.partition", b"x"), ("other", b"\xff"), ("dlq.redriven", b"x")]))
    assert (row["topic"], row["partition"], row["offset"]) == ("t.dlq", 0, 7)
    assert (row["error_class"], row["schema_id"], row["redrive_of"]) == ("unknown", None, None)
