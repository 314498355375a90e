"""The headers of an authorization, read by ourselves: most requests have none of them, and asking
the framework for each costs a fifth of the whole request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from serving.shapes import KEY, DeadlineMs

Key = Annotated[str, Field(pattern=KEY)]


class AskHeaders(BaseModel):
    """What a caller may say beside the body."""

    idempotency_key: Key | None = Field(
        None, alias="idempotency-key", description="The key, in place of network_transaction_id."
    )
    deadline_ms: DeadlineMs | None = Field(
        None, alias="deadline-ms", description="How long you wait, in place of the body's."
    )
    correlation_id: Key | None = Field(
        None, alias="x-correlation-id", description="Follows the request through every hop."
    )


NAMES = tuple(str(field.alias) for field in AskHeaders.model_fields.values())
NOTHING_SAID = AskHeaders.model_validate({})


def of(request: Request) -> AskHeaders:
    """The request's headers; one that is wrong is named, as a field of the body would be."""
    found = {name: text for name in NAMES if (text := request.headers.get(name)) is not None}
    if not found:
        return NOTHING_SAID
    try:
        return AskHeaders.model_validate(found)
    except ValidationError as error:
        wrong = [{**one, "loc": ("header", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(wrong) from error


def _parameters() -> list[dict[str, Any]]:
    found = AskHeaders.model_json_schema()["properties"]
    return [
        {"name": name, "in": "header", "required": False, "schema": found[name]} for name in NAMES
    ]


PARAMETERS = _parameters()
