"""Bytes that are no message of ours, each with its reason; a registry that is down is none."""

import json
import struct
from collections.abc import Callable

import fastavro
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import Codec, RegistryDown, SchemaNeeded, Undecodable, datum, split

SCHEMA = {
    "type": "record",
    "name": "our.Thing",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": ["null", "long"]},
    ],
}
OTHER = {**SCHEMA, "name": "their.Thing"}
HUGE = {
    "type": "record",
    "name": "our.Thing",
    "fields": [{"name": "items", "type": {"type": "array", "items": "long"}}],
}
REGISTERED = {1: SCHEMA, 2: OTHER, 3: HUGE, 4: "string"}


def avro(record: dict[str, object], schema: dict[str, object] = SCHEMA) -> bytes:
    import io

    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


GOOD = avro({"id": "x", "amount": 5})


def message(payload: bytes = GOOD, schema_id: int = 1, magic: int = 0) -> bytes:
    return struct.pack(">BI", magic, schema_id) + payload


def answer(request: httpx.Request) -> httpx.Response:
    schema = REGISTERED.get(int(request.url.path.rpartition("/")[2]))
    if schema is None:
        return httpx.Response(404, json={"error_code": 40403})
    return httpx.Response(200, json={"schema": json.dumps(schema)})


def codec(handler: Callable[[httpx.Request], httpx.Response] = answer) -> Codec:
    return Codec("http://registry", httpx.AsyncClient(transport=httpx.MockTransport(handler)))


async def decoded(reader: Codec, value: bytes) -> dict[str, object]:
    """As a batch agent does it: a schema that is needed is fetched."""
    try:
        return reader.decode(value, "our.Thing")
    except SchemaNeeded as needed:
        await reader.fetch(needed.schema_id)
        return reader.decode(value, "our.Thing")


BAD = [
    (b"", "wire_format"),
    (b"\0\0\0\0", "wire_format"),
    (b"\0\0\0\0\1", "wire_format"),
    (message(magic=1), "wire_format"),
    (b'{"id": "x"}', "wire_format"),
    (message(schema_id=404), "unknown_schema"),
    (message(schema_id=2), "unexpected_schema"),
    (message(schema_id=4), "unusable_schema"),
    (message(GOOD[:-1]), "avro"),
    (message(GOOD + b"\0"), "trailing_bytes"),
    (message(b"\x02x\x08\x05"), "avro"),
    (message(b"\xff" * 12), "avro"),
    (message(b"\x04\xff\xfe\x00"), "avro"),
    (message(b"\x01x"), "avro"),
    (message(b"\xfe\xff\xff\xff\x0f", schema_id=3), "avro"),
    (message(b"x" * (1024 * 1024)), "oversize"),
]


@pytest.mark.parametrize(("value", "reason"), BAD, ids=[f"{r}-{i}" for i, (_, r) in enumerate(BAD)])
async def test_what_is_no_message_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(Undecodable) as refused:
        await decoded(codec(), value)
    assert refused.value.reason == reason


async def test_a_message_is_decoded_and_its_schema_asked_for_once() -> None:
    asked = []

    def count(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return answer(request)

    reader = codec(count)
    for _ in range(3):
        assert await decoded(reader, message()) == {"id": "x", "amount": 5}
    assert asked == ["/schemas/ids/1"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_registry_that_fails_is_an_outage_and_not_the_messages_fault(status: int) -> None:
    with pytest.raises(RegistryDown):
        await decoded(codec(lambda _: httpx.Response(status)), message())


async def test_a_registry_that_cannot_be_reached_is_an_outage() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(RegistryDown):
        await decoded(codec(refuse), message())


@given(st.binary(max_size=64))
def test_any_bytes_are_a_whole_record_or_undecodable(payload: bytes) -> None:
    schema = fastavro.parse_schema(SCHEMA)
    try:
        record = datum(payload, schema)
    except Undecodable:
        return
    assert avro(record) == payload or set(record) == {"id", "amount"}


@given(st.binary(max_size=12))
def test_any_bytes_are_split_or_undecodable(value: bytes) -> None:
    try:
        schema_id, payload = split(value)
    except Undecodable:
        return
    assert struct.pack(">BI", 0, schema_id) + payload == value
