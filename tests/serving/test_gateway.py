"""The gateway's door: what it refuses and how, and what it answers while everything is down."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.app import create_app
from serving.card_messages import CardMessage
from serving.settings import Settings

GOOD: dict[str, Any] = {
    "card_id": "0b6f2a4e-6f52-4d0e-9f8e-2f0b8f5f1a10",
    "amount_minor": 1250,
    "currency": "CZK",
    "merchant_id": "M-1001",
    "mcc": "5411",
    "merchant_country": "CZ",
    "channel": "CHIP",
    "network_transaction_id": "T-1",
}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway whose every neighbour is down."""
    app = create_app(
        Settings(
            home=tmp_path,
            kafka="127.0.0.1:1",
            registry="http://127.0.0.1:1",
            redis="redis://127.0.0.1:1/0",
            oltp_dsn="postgresql://nobody:secret@127.0.0.1:1/oltp",
        )
    )
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield client


BAD_FIELDS = [
    ({"card_id": "4111"}, "card_id"),
    ({"amount_minor": "1250"}, "amount_minor"),
    ({"amount_minor": 12.5}, "amount_minor"),
    ({"amount_minor": True}, "amount_minor"),
    ({"amount_minor": -1}, "amount_minor"),
    ({"amount_minor": 10**16}, "amount_minor"),
    ({"amount_minor": None}, "amount_minor"),
    ({"currency": "czk"}, "currency"),
    ({"mcc": "54"}, "mcc"),
    ({"merchant_id": ""}, "merchant_id"),
    ({"merchant_id": "x" * 65}, "merchant_id"),
    ({"merchant_id": "nul\0"}, "merchant_id"),
    ({"merchant_country": "CZE"}, "merchant_country"),
    ({"channel": "PIGEON"}, "channel"),
    ({"network_transaction_id": ""}, "network_transaction_id"),
    ({"network_transaction_id": "a b"}, "network_transaction_id"),
    ({"deadline_ms": 0}, "deadline_ms"),
    ({"amount": 5}, "amount"),
]


@pytest.mark.parametrize(("change", "field"), BAD_FIELDS, ids=str)
async def test_a_field_that_is_wrong_is_named(
    gateway: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    answer = await gateway.post("/v1/authorizations", json=GOOD | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:millrace:problem:invalid-request"
    assert [one["field"] for one in problem["errors"]] == [field]
    assert field in problem["detail"]


@pytest.mark.parametrize("field", list(GOOD))
async def test_a_field_that_is_missing_is_named(gateway: httpx.AsyncClient, field: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != field}
    answer = await gateway.post("/v1/authorizations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": field, "message": "Field required"}]


@pytest.mark.parametrize("content", [b"{nope", b"", b"[", b'{"a": 1', b"\xff\xfe", b'{"a": "\xed'])
async def test_a_body_that_is_no_json_is_a_problem_and_not_an_error(
    gateway: httpx.AsyncClient, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = await gateway.post("/v1/authorizations", content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "body"


@pytest.mark.parametrize("content", ["[]", "1", '"x"', "null"])
async def test_a_body_that_is_no_object_is_refused(
    gateway: httpx.AsyncClient, content: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await gateway.post("/v1/authorizations", content=content, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


async def test_with_everything_down_a_request_is_declined_in_time_and_so_is_its_repeat(
    gateway: httpx.AsyncClient,
) -> None:
    first = (await gateway.post("/v1/authorizations", json=GOOD)).json()
    assert (first["decision"], first["response_code"]) == ("DECLINED", "91")
    assert (first["stand_in"], first["reason_code"]) == (True, "STAND_IN_DECLINED")
    assert first["latency_ms"] < 500
    again = (await gateway.post("/v1/authorizations", json=GOOD)).json()
    assert again["replayed"]
    assert {**again, "replayed": False, "latency_ms": 0} == {**first, "latency_ms": 0}


async def test_a_key_that_stand_in_answered_is_a_conflict_for_another_body(
    gateway: httpx.AsyncClient,
) -> None:
    await gateway.post("/v1/authorizations", json=GOOD)
    other = await gateway.post("/v1/authorizations", json=GOOD | {"amount_minor": 1})
    assert (other.status_code, other.json()["type"]) == (409, "urn:millrace:problem:key-reused")


INCONSISTENT = [
    ({"message_kind": "ADVICE"}, "message_kind"),
    ({"message_kind": "VERIFICATION"}, "message_kind"),
    ({"message_kind": "INCREMENT"}, "original_key"),
    ({"original_key": "T-0"}, "original_key"),
    ({"terminal_latitude_e6": 1}, "terminal_longitude_e6"),
    ({"terminal_latitude_e6": 90_000_001, "terminal_longitude_e6": 1}, "terminal_latitude_e6"),
    ({"network": "PIGEON"}, "network"),
    ({"network_transaction_id": "x" * 121}, "network_transaction_id"),
    ({"partial_allowed": "yes"}, "partial_allowed"),
]


@pytest.mark.parametrize(("change", "field"), INCONSISTENT, ids=str)
async def test_fields_that_contradict_each_other_are_named(
    gateway: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    answer = await gateway.post("/v1/authorizations", json=GOOD | change)
    assert answer.status_code == 422
    assert field in [one["field"] for one in answer.json()["errors"]]


async def test_nothing_asked_for_is_a_verification(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/v1/authorizations", json=GOOD | {"amount_minor": 0})
    assert answer.json()["message_kind"] == "VERIFICATION"


BAD_MESSAGES = [
    ({"message_kind": "CLEARING"}, "amount_minor"),
    ({"message_kind": "REFUND", "amount_minor": 0, "card_id": GOOD["card_id"]}, "amount_minor"),
    ({"message_kind": "REFUND", "amount_minor": 5}, "original_key"),
    ({"message_kind": "FORCE_POST", "amount_minor": 5, "original_key": "T-1"}, "account_id"),
    ({"message_kind": "REVERSAL"}, "original_key"),
    ({"message_kind": "ADVICE", "original_key": "T-1"}, "amount_minor"),
    ({"message_kind": "CHARGEBACK", "original_key": "T-1"}, "reason"),
    ({"message_kind": "REVERSAL", "original_key": "T-1", "occurred_at": "2026-11-30T10:00:00"},
     "occurred_at"),
    ({"message_kind": "PURCHASE"}, "message_kind"),
    ({"message_kind": "REVERSAL", "original_key": "a b"}, "original_key"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), BAD_MESSAGES, ids=str)
async def test_a_card_message_that_cannot_be_right_is_refused_by_the_field(
    gateway: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await gateway.post("/v1/card-messages", json={"message_key": "M-1"} | body)
    assert answer.status_code == 422
    assert field in [one["field"] for one in answer.json()["errors"]]


async def test_without_postgres_a_card_message_is_not_taken_and_may_be_sent_again(
    gateway: httpx.AsyncClient,
) -> None:
    body = {"message_kind": "REVERSAL", "message_key": "R-1", "original_key": "T-1"}
    answer = await gateway.post("/v1/card-messages", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "secret" not in answer.text


async def test_features_of_an_unknown_kind_of_entity_are_not_found(
    gateway: httpx.AsyncClient,
) -> None:
    answer = await gateway.get(f"/v1/features/merchant/{GOOD['card_id']}")
    assert (answer.status_code, answer.json()["title"]) == (404, "There are no such features")


async def test_an_id_that_is_no_uuid_is_named(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.get("/v1/features/card/1234")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "id")


async def test_health_tells_every_part_apart_and_never_a_password(
    gateway: httpx.AsyncClient,
) -> None:
    answer = await gateway.get("/health", timeout=10)
    parts = {name: part["status"] for name, part in answer.json()["parts"].items()}
    assert answer.status_code == 503
    assert parts == {
        "kafka": "fail",
        "postgres": "fail",
        "redis": "warn",
        "registry": "warn",
        "decider": "warn",
        "circuit": "pass",
        "journal": "pass",
    }
    assert "secret" not in answer.text


async def test_an_unknown_path_is_a_problem_document(gateway: httpx.AsyncClient) -> None:
    answer = await gateway.get("/v2")
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


async def test_the_openapi_page_has_an_example_that_the_door_accepts(
    gateway: httpx.AsyncClient,
) -> None:
    page = await gateway.get("/docs")
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert assets
    for asset in assets:  # from the gateway itself: it may have no way to the internet
        assert (await gateway.get(asset)).status_code == 200, asset
    document = (await gateway.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for example in schemas["AuthorizationRequest"]["examples"]:
        assert (await gateway.post("/v1/authorizations", json=example)).status_code == 200
    for example in schemas["CardMessage"]["examples"]:
        CardMessage.model_validate_json(json.dumps(example))


async def test_metrics_tell_stand_ins_the_circuit_and_what_waits_to_be_told(
    gateway: httpx.AsyncClient,
) -> None:
    for number in range(6):
        await gateway.post(
            "/v1/authorizations", json=GOOD | {"network_transaction_id": f"T-{number}"}
        )
    text = (await gateway.get("/metrics")).text
    assert "millrace_gateway_unreachable_total" in text
    assert "millrace_gateway_authorization_seconds_bucket" in text
    assert 'millrace_gateway_stand_ins_total{decision="DECLINED",verdict="REDIS_AWAY"}' in text
    assert 'millrace_gateway_circuit_state{state="open"} 1.0' in text
    assert "millrace_gateway_journal_backlog 6.0" in text
    parts = (await gateway.get("/health", timeout=10)).json()["parts"]
    assert (parts["circuit"]["status"], parts["circuit"]["detail"]) == ("warn", "open")
    assert parts["journal"]["observed"] == 6


BAD_HEADERS = [
    ({"Idempotency-Key": "a b"}, "idempotency-key"),
    ({"Deadline-Ms": "soon"}, "deadline-ms"),
    ({"Deadline-Ms": "5"}, "deadline-ms"),
    ({"X-Correlation-Id": "x" * 121}, "x-correlation-id"),
]


@pytest.mark.parametrize(("headers", "field"), BAD_HEADERS, ids=str)
async def test_a_header_that_is_wrong_is_named(
    gateway: httpx.AsyncClient, headers: dict[str, str], field: str
) -> None:
    answer = await gateway.post("/v1/authorizations", json=GOOD, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_headers_stand_for_the_bodys_key_and_deadline_and_come_back(
    gateway: httpx.AsyncClient,
) -> None:
    headers = {"Idempotency-Key": "K-1", "Deadline-Ms": "100", "X-Correlation-Id": "C-1"}
    answer = await gateway.post("/v1/authorizations", json=GOOD, headers=headers)
    assert answer.json()["idempotency_key"] == "K-1"
    assert answer.headers["x-correlation-id"] == "C-1"
    document = (await gateway.get("/openapi.json")).json()
    parameters = document["paths"]["/v1/authorizations"]["post"]["parameters"]
    assert {p["name"] for p in parameters} == {name.lower() for name in headers}
