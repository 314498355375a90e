"""Messages as bytes: a decision's owner is told from its first bytes, and rubbish is refused."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import events, topics
from serving.advice import NO_DEADLINE, advice_of, as_bytes
from serving.wire import HEADER, RegistryUnavailable, Wire
from tests.serving.conftest import asked

DECIDED = json.loads((events.FOLDER / f"{topics.AUTHORIZATION_DECIDED}.avsc").read_text())
ODD = {"type": "record", "name": "Odd", "fields": [{"name": "request_id", "type": "long"}]}
SCHEMAS = {7: DECIDED, 8: ODD}
MOMENT = datetime(2026, 11, 30, tzinfo=UTC)


def registry(request: httpx.Request) -> httpx.Response:
    if request.method == "POST":
        return httpx.Response(200, json={"id": 3})
    number = int(request.url.path.rpartition("/")[2])
    if number not in SCHEMAS:
        return httpx.Response(404)
    return httpx.Response(200, json={"schema": json.dumps(SCHEMAS[number])})


def wire() -> Wire:
    return Wire("http://registry", httpx.AsyncClient(transport=httpx.MockTransport(registry)))


def message(schema_id: int, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(HEADER.pack(0, schema_id))
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMAS[schema_id]), record)
    return out.getvalue()


def decided(request_id: str) -> dict[str, Any]:
    texts = (
        "idempotency_key authorization_id card_id decision response_code reason_code currency"
        " rule_version correlation_id"
    )
    return {
        **dict.fromkeys(texts.split(), "x"),
        "request_id": request_id,
        "account_id": None,
        "approved_amount_minor": 1,
        "replayed": False,
        "conflict": False,
        "requested_at": MOMENT,
        "decided_at": MOMENT,
    }


async def test_a_schema_is_asked_for_once_and_its_messages_are_read() -> None:
    made, value = wire(), message(7, decided("R-1"))
    assert not made.is_known(value)
    await made.learn(value)
    assert made.is_known(value)
    assert made.request_id(value) == "R-1"
    assert made.decode(value).request_id == "R-1"


@given(request_id=st.text(max_size=300))
async def test_the_first_bytes_name_the_request_whatever_its_id(request_id: str) -> None:
    made, value = wire(), message(7, decided(request_id.replace("\ud800", "")))
    await made.learn(value)
    assert made.request_id(value) == made.decode(value).request_id


async def test_of_a_schema_that_begins_otherwise_nothing_is_guessed() -> None:
    made, value = wire(), message(8, {"request_id": 5})
    await made.learn(value)
    assert made.request_id(value) is None
    with pytest.raises(ValueError, match="not a decision"):
        made.decode(value)


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01\x00\x00\x00\x07x"])
async def test_what_is_no_message_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"message|first byte"):
        await wire().learn(value)


async def test_a_message_cut_short_is_refused() -> None:
    made, value = wire(), message(7, decided("R-1"))
    await made.learn(value)
    assert made.request_id(value[: HEADER.size]) is None
    with pytest.raises(ValueError, match="not a decision"):
        made.decode(value[: HEADER.size + 3])


async def test_a_schema_that_the_registry_does_not_have_is_an_outage() -> None:
    with pytest.raises(RegistryUnavailable):
        await wire().learn(b"\x00\x00\x00\x00\x63rest")


async def test_an_advice_says_what_it_stands_for_and_goes_over_the_wire() -> None:
    request = asked(amount_minor=700)
    advice = advice_of(request, 700)
    assert (advice.message_kind, advice.original_key) == ("ADVICE", request.idempotency_key)
    assert advice.idempotency_key == f"advice:{request.idempotency_key}"
    assert advice.request_hash == request.request_hash
    assert advice.deadline_at - advice.requested_at == NO_DEADLINE
    assert (await wire().encode(advice))[: HEADER.size] == HEADER.pack(0, 3)
    assert json.loads(as_bytes(request))["amount_minor"] == 700
