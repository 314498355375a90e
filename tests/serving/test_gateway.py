"""The gateway's door: what it refuses and how, and what it answers while everything is down."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from serving.app import create_app
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
async def gateway() -> AsyncIterator[httpx.AsyncClient]:
    """A gateway whose every neighbour is down."""
    app = create_app(
        Settings(
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


async def test_without_kafka_a_request_is_refused_and_says_when_to_come_back(
    gateway: httpx.AsyncClient,
) -> None:
    answer = await gateway.post("/v1/authorizations", json=GOOD)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "urn:millrace:problem:decider-unreachable"


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
    example = document["components"]["schemas"]["AuthorizationRequest"]["examples"][0]
    assert (await gateway.post("/v1/authorizations", json=example)).status_code == 503


async def test_metrics_count_requests_that_were_not_taken(gateway: httpx.AsyncClient) -> None:
    await gateway.post("/v1/authorizations", json=GOOD)
    text = (await gateway.get("/metrics")).text
    assert "millrace_gateway_unreachable_total" in text
    assert "millrace_gateway_authorization_seconds_bucket" in text
