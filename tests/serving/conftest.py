"""What tests of the gateway's parts share: a Redis, and requests."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.events import AuthorizationRequested, request_hash
from tests.streams.conftest import redis_url

__all__ = ["redis_url"]


def asked(**changes: Any) -> AuthorizationRequested:
    """A purchase under a key of its own."""
    now = datetime.now(UTC)
    body: dict[str, Any] = {
        "card_id": str(uuid.uuid4()),
        "amount_minor": 1000,
        "currency": "CZK",
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "CZ",
        "channel": "CHIP",
    }
    body |= {name: changes.pop(name) for name in list(changes) if name in body}
    return AuthorizationRequested(
        **{
            "request_id": str(uuid.uuid4()),
            "idempotency_key": f"T-{uuid.uuid4()}",
            "request_hash": request_hash(**body),
            **body,
            "requested_at": now,
            "deadline_at": now + timedelta(milliseconds=500),
            "correlation_id": "C-1",
            **changes,
        }
    )


@pytest.fixture
def purchase() -> AuthorizationRequested:
    return asked()
