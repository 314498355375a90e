"""The bodies that go in and out, as strict models with examples: the source of the OpenAPI page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.codes import Channel, Decision, Reason
from streams.authorization.policy import LARGEST_AMOUNT_MINOR

KEY = r"^[!-~]{1,128}$"
DEADLINE_DEFAULT_MS = 500
DeadlineMs = Annotated[int, Field(ge=10, le=30_000)]


class AuthorizationRequest(BaseModel):
    """Ask whether a card may spend an amount at a merchant."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "card_id": "0b6f2a4e-6f52-4d0e-9f8e-2f0b8f5f1a10",
                    "amount_minor": 1250,
                    "currency": "CZK",
                    "merchant_id": "M-1001",
                    "mcc": "5411",
                    "merchant_country": "CZ",
                    "channel": "CHIP",
                    "network_transaction_id": "T-20261130-000001",
                }
            ]
        },
    )

    card_id: UUID = Field(strict=False, description="The card.")
    amount_minor: int = Field(
        ge=0, le=LARGEST_AMOUNT_MINOR, description="Minor units; 0 verifies the account."
    )
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.")
    merchant_id: str = Field(
        min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", description="Acquirer's id."
    )
    mcc: str = Field(pattern=r"^[0-9]{4}$", description="Merchant category code.")
    merchant_country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    channel: Channel = Field(strict=False, description="How the card was presented.")
    network_transaction_id: str = Field(
        pattern=KEY, description="The network's id: one decision for it, for ever."
    )
    deadline_ms: DeadlineMs = Field(
        DEADLINE_DEFAULT_MS, description="How long you wait; a later decision never approves."
    )


class AuthorizationAnswer(BaseModel):
    """The decision. `stand_in` marks an answer given because none came in time."""

    authorization_id: UUID
    idempotency_key: str
    decision: Decision
    response_code: str = Field(description="ISO 8583 data element 39.", examples=["00"])
    reason_code: Reason
    approved_amount_minor: int
    currency: str
    replayed: bool = Field(description="True when this key had been decided before.")
    stand_in: bool
    decided_at: datetime
    latency_ms: float


class StoredAuthorization(BaseModel):
    """A decision as it is stored."""

    authorization_id: UUID
    idempotency_key: str
    card_id: UUID
    account_id: UUID | None
    amount_minor: int
    currency: str
    decision: Decision
    response_code: str
    reason_code: Reason
    rule_hits: list[str]
    rule_version: str
    requested_at: datetime
    decided_at: datetime


class FeatureVector(BaseModel):
    """An entity's features at a moment."""

    entity: str
    id: UUID
    version: str = Field(examples=["card.v1"])
    as_of: datetime
    values: dict[str, int]
    has_history: bool = Field(description="False: nothing is known, the values are the defaults.")
    newest_event_at: datetime | None
    lsn: str | None = Field(description="Log position of the newest event, as Postgres writes it.")
    freshness_ms: int | None = Field(description="Age of the newest event at `as_of`.")
    source: str = Field(description="redis, or postgres while Redis has no complete copy.")


class PartHealth(BaseModel):
    """One part's health."""

    status: str = Field(examples=["pass"])
    detail: str | None = None
    observed: float | None = None


class Health(BaseModel):
    """The worst of all parts, and each part."""

    status: str = Field(examples=["pass"])
    parts: dict[str, PartHealth]
