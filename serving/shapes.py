"""The bodies that go in and out, as strict models with examples: the source of the OpenAPI page."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.codes import Channel, Decision, Reason
from schemas.codes_card import MessageKind, Network
from streams.authorization.policy import LARGEST_AMOUNT_MINOR

# An advice about a key is a message with a longer key of its own.
KEY = r"^[!-~]{1,120}$"
DEADLINE_DEFAULT_MS = 500
DeadlineMs = Annotated[int, Field(ge=10, le=30_000)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.")]
MerchantId = Annotated[
    str,
    Field(
        min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", description="Acquirer's id."
    ),
]
Mcc = Annotated[str, Field(pattern=r"^[0-9]{4}$", description="Merchant category code.")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")]


class AskedKind(StrEnum):
    """What may be asked; an advice is told, see card messages."""

    PURCHASE = MessageKind.PURCHASE
    VERIFICATION = MessageKind.VERIFICATION
    INCREMENT = MessageKind.INCREMENT


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
                    "network": "VISA",
                    "partial_allowed": True,
                    "terminal_latitude_e6": 50087800,
                    "terminal_longitude_e6": 14420400,
                },
                {
                    "card_id": "0b6f2a4e-6f52-4d0e-9f8e-2f0b8f5f1a10",
                    "amount_minor": 4500,
                    "currency": "CZK",
                    "merchant_id": "M-1001",
                    "mcc": "7011",
                    "merchant_country": "CZ",
                    "channel": "CHIP",
                    "network_transaction_id": "T-20261130-000002",
                    "message_kind": "INCREMENT",
                    "original_key": "T-20261130-000001",
                    "amount_is_total": True,
                },
            ]
        },
    )

    card_id: UUID = Field(strict=False, description="The card.")
    amount_minor: int = Field(
        ge=0, le=LARGEST_AMOUNT_MINOR, description="Minor units; 0 verifies the account."
    )
    currency: Currency
    merchant_id: MerchantId
    mcc: Mcc
    merchant_country: Country
    channel: Channel = Field(strict=False, description="How the card was presented.")
    network_transaction_id: str = Field(
        pattern=KEY, description="The network's id: one decision for it, for ever."
    )
    deadline_ms: DeadlineMs = Field(
        DEADLINE_DEFAULT_MS, description="How long you wait; a later decision never approves."
    )
    message_kind: AskedKind = Field(
        AskedKind.PURCHASE,
        strict=False,
        validate_default=True,
        description="An increment raises an earlier approval.",
    )
    original_key: str | None = Field(
        None,
        pattern=KEY,
        validate_default=True,
        description="Key of the authorization that an increment raises.",
    )
    amount_is_total: bool = Field(
        False, description="Of an increment: the amount is what it comes to, not what is added."
    )
    partial_allowed: bool = Field(
        False, description="The terminal takes an approval of less than it asked for (code 10)."
    )
    network: Network = Field(Network.DOMESTIC, strict=False, description="Who carries it.")
    terminal_latitude_e6: int | None = Field(
        None, ge=-90_000_000, le=90_000_000, description="Millionths of a degree north."
    )
    terminal_longitude_e6: int | None = Field(
        None,
        ge=-180_000_000,
        le=180_000_000,
        validate_default=True,
        description="Millionths of a degree east.",
    )

    @field_validator("message_kind")
    @classmethod
    def _verifies_nothing(cls, kind: AskedKind, info: ValidationInfo) -> AskedKind:
        amount_minor = info.data.get("amount_minor")
        if kind is AskedKind.VERIFICATION and amount_minor:
            raise wrong("a verification asks for nothing: its amount_minor is 0")
        # Nothing asked for is a verification, whatever it is called.
        return AskedKind.VERIFICATION if amount_minor == 0 and kind is AskedKind.PURCHASE else kind

    @field_validator("original_key")
    @classmethod
    def _raises_something(cls, key: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("message_kind")
        if kind is AskedKind.INCREMENT and key is None:
            raise wrong("an increment names the authorization that it raises")
        if kind in (AskedKind.PURCHASE, AskedKind.VERIFICATION) and key is not None:
            raise wrong("only an increment has an original")
        return key

    @field_validator("terminal_longitude_e6")
    @classmethod
    def _is_a_place(cls, longitude: int | None, info: ValidationInfo) -> int | None:
        if (longitude is None) != (info.data.get("terminal_latitude_e6") is None):
            raise wrong("a place has both latitude and longitude")
        return longitude


class AuthorizationAnswer(BaseModel):
    """The decision. `stand_in` marks an answer given in the decider's place."""

    authorization_id: UUID
    idempotency_key: str
    decision: Decision
    response_code: str = Field(description="ISO 8583 data element 39.", examples=["00"])
    reason_code: Reason
    approved_amount_minor: int
    currency: str
    replayed: bool = Field(description="True when this key had been decided before.")
    stand_in: bool = Field(description="Answered in the decider's place, and reconciled with it.")
    decided_at: datetime
    latency_ms: float
    message_kind: MessageKind
    risk_score: int | None = None
    rules_hit: list[str] = Field([], description="What spoke against it, first the reason.")


class StoredAuthorization(BaseModel):
    """A decision as it is stored."""

    authorization_id: UUID
    idempotency_key: str
    message_kind: MessageKind
    card_id: UUID
    account_id: UUID | None
    amount_minor: int
    approved_amount_minor: int
    currency: str
    network: Network
    decision: Decision
    response_code: str
    reason_code: Reason
    is_stand_in: bool
    rule_hits: list[Any] = Field(description="Every rule that fired, as it was stored.")
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


def wrong(message: str) -> PydanticCustomError:
    """A field that has its form and contradicts another one."""
    return PydanticCustomError("inconsistent", "{message}", {"message": message})
