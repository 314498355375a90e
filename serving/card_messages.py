"""POST of card messages: what a network says about an authorization. Applied, never decided."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from schemas.codes_card import (
    CardMessageKind,
    CardMessageState,
    DisputeReason,
    MessageOutcome,
    Network,
)
from serving import metrics
from serving.problems import Problem, ProblemDocument, key_reused, unreachable_database
from serving.records import Records
from serving.shapes import KEY, Country, Currency, Mcc, MerchantId, wrong
from streams.authorization.policy import LARGEST_AMOUNT_MINOR

EXAMPLE: JsonDict = {
    "message_kind": "CLEARING",
    "message_key": "C-20261201-000001",
    "original_key": "T-20261130-000001",
    "amount_minor": 1250,
    "currency": "CZK",
    "network_ref": "74999996335000000000017",
    "is_final": True,
}
MOVES_MONEY = frozenset(
    {CardMessageKind.CLEARING, CardMessageKind.FORCE_POST, CardMessageKind.REFUND}
)
NAMES_ITS_ACCOUNT = frozenset({CardMessageKind.FORCE_POST})
STANDS_ALONE = frozenset(
    {CardMessageKind.FORCE_POST, CardMessageKind.REFUND, CardMessageKind.CLEARING}
)
# What can never be right, as against what cannot be as things stand.
INVALID = frozenset(
    {
        MessageOutcome.INVALID_AMOUNT,
        MessageOutcome.INVALID_REASON,
        MessageOutcome.WRONG_CARD,
        MessageOutcome.WRONG_CURRENCY,
        MessageOutcome.ACCOUNT_NOT_FOUND,
        MessageOutcome.ORIGINAL_NOT_FOUND,
    }
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    202: {"description": "What it is about is not known yet: it is parked until it is."},
    409: {
        "model": ProblemDocument,
        "description": "The key is another message's, or the authorization's state refuses it.",
    },
    422: {"model": ProblemDocument, "description": "The message is not valid."},
    503: {"model": ProblemDocument, "description": "Nothing was applied; send it again."},
}


class CardMessage(BaseModel):
    """A message about an authorization, a card or an account. Its key is its own."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                EXAMPLE,
                {
                    "message_kind": "REVERSAL",
                    "message_key": "R-20261130-000001",
                    "original_key": "T-20261130-000001",
                },
                {
                    "message_kind": "REFUND",
                    "message_key": "F-20261205-000001",
                    "card_id": "0b6f2a4e-6f52-4d0e-9f8e-2f0b8f5f1a10",
                    "amount_minor": 500,
                    "currency": "CZK",
                },
                {
                    "message_kind": "CHARGEBACK",
                    "message_key": "D-20261210-000001",
                    "original_key": "C-20261201-000001",
                    "amount_minor": 1250,
                    "reason": "NOT_RECEIVED",
                },
            ]
        },
    )

    message_kind: CardMessageKind = Field(strict=False, description="What it is.")
    message_key: str = Field(pattern=KEY, description="The network's id of the message.")
    amount_minor: Annotated[int, Field(ge=0, le=LARGEST_AMOUNT_MINOR)] | None = Field(
        None, validate_default=True, description="Minor units; none of a reversal means all of it."
    )
    currency: Currency | None = None
    card_id: UUID | None = Field(None, strict=False, description="The card, where it is known.")
    account_id: UUID | None = Field(
        None, strict=False, validate_default=True, description="The account, where it is known."
    )
    original_key: str | None = Field(
        None,
        pattern=KEY,
        validate_default=True,
        description="Key of the authorization or presentment that it is about.",
    )
    amount_is_total: bool = Field(
        False, description="Of a reversal: the amount is what stays authorized."
    )
    is_final: bool = Field(True, description="Of a clearing: nothing more of it will come.")
    sequence_number: int = Field(1, ge=1, le=99, description="Of a clearing: which part it is.")
    network: Network = Field(Network.DOMESTIC, strict=False, description="Who carries it.")
    network_ref: str | None = Field(None, pattern=KEY, description="Reference of a presentment.")
    merchant_id: MerchantId | None = None
    mcc: Mcc | None = None
    merchant_country: Country | None = None
    reason: DisputeReason | None = Field(
        None, strict=False, validate_default=True, description="Of a chargeback: why."
    )
    occurred_at: datetime | None = Field(None, strict=False, description="With time zone.")

    @field_validator("amount_minor")
    @classmethod
    def _moves_something(cls, amount_minor: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("message_kind")
        if kind in MOVES_MONEY and not amount_minor:
            raise wrong(f"a {kind} moves an amount above 0")
        if kind is CardMessageKind.ADVICE and amount_minor is None:
            raise wrong("an advice says how much was approved; 0 when it was declined")
        return amount_minor

    @field_validator("account_id")
    @classmethod
    def _finds_its_account(cls, account_id: UUID | None, info: ValidationInfo) -> UUID | None:
        kind = info.data.get("message_kind")
        if kind in NAMES_ITS_ACCOUNT and account_id is None and info.data.get("card_id") is None:
            raise wrong(f"a {kind} names its card_id or its account_id")
        return account_id

    @field_validator("original_key")
    @classmethod
    def _is_about_something(cls, key: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("message_kind")
        if key is not None or kind is None:
            return key
        if kind not in STANDS_ALONE:
            raise wrong(f"a {kind} names what it is about")
        if info.data.get("card_id") is None and info.data.get("account_id") is None:
            raise wrong(f"a {kind} without an original names its card_id or its account_id")
        return key

    @field_validator("reason")
    @classmethod
    def _says_why(cls, reason: DisputeReason | None, info: ValidationInfo) -> DisputeReason | None:
        if info.data.get("message_kind") is CardMessageKind.CHARGEBACK and reason is None:
            raise wrong("a chargeback says why")
        return reason

    @field_validator("occurred_at")
    @classmethod
    def _has_a_zone(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise wrong("a moment has a time zone")
        return moment


class CardMessageAnswer(BaseModel):
    """What became of a message: the same for every repeat of it."""

    message_key: str
    message_kind: CardMessageKind
    state: CardMessageState = Field(examples=["APPLIED"])
    outcome: MessageOutcome = Field(examples=["CLEARED"])
    authorization_id: UUID | None
    hold_id: UUID | None
    entry_id: UUID | None = Field(description="The ledger entry that moved it.")
    applied_minor: int = Field(description="What it moved, in minor units.")
    replayed: bool = Field(description="True when the message had come before.")


def router(records: Records) -> APIRouter:
    """The route, over the database that applies messages."""
    routes = APIRouter(prefix="/v1/card-messages", tags=["card messages"])

    @routes.post("", response_model=CardMessageAnswer, responses=PROBLEMS)
    async def apply(body: CardMessage, response: Response) -> dict[str, Any]:
        """Apply a message, once for its key. The same key with another body has no effect.

        One that comes before what it is about is parked (202) and applied when that comes.
        """
        try:
            row = await records.apply(to_message(body))
        except Exception as error:
            raise unreachable_database(error) from error
        metrics.CARD_MESSAGES.labels(body.message_kind, row["outcome"]).inc()
        if row["conflict"]:
            raise key_reused(body.message_key)
        if row["state"] == CardMessageState.REFUSED:
            raise refused(row)
        if row["state"] == CardMessageState.PARKED:
            response.status_code = 202
        return row

    return routes


def to_message(body: CardMessage) -> dict[str, Any]:
    """The message as card.apply_messages takes it. A repeat may be sent at another time."""
    said: dict[str, Any] = body.model_dump(mode="json", exclude_none=True)
    business = {name: value for name, value in said.items() if name != "occurred_at"}
    text = orjson.dumps(business, option=orjson.OPT_SORT_KEYS)
    return {
        "occurred_at": datetime.now(UTC).isoformat(),
        **said,
        "request_hash": hashlib.sha256(text).hexdigest(),
        "body": said,
    }


def refused(row: dict[str, Any]) -> Problem:
    """A refusal as a problem: 422 for what can never be right, 409 for what cannot be now."""
    outcome = str(row["outcome"])
    words = outcome.replace("_", " ").lower()
    return Problem(
        422 if outcome in INVALID else 409,
        outcome.replace("_", "-").lower(),
        "The message is refused",
        f"{row['message_kind']} {row['message_key']!r}: {words}; nothing was moved.",
    )
