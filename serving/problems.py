"""Errors as RFC 9457 problem documents: what went wrong, where in the request, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One thing wrong with the request."""

    field: str = Field(examples=["amount_minor"])
    message: str = Field(examples=["Field required"])


class ProblemDocument(BaseModel):
    """The body of every answer that is an error."""

    type: str = Field(examples=["urn:millrace:problem:invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["amount_minor: Field required"])
    instance: str = Field(examples=["/v1/authorizations"])
    errors: list[FieldError] | None = None


class Problem(Exception):
    """Raise to answer with a problem document; `name` is the last part of its type."""

    def __init__(
        self, status: int, name: str, title: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.headers = headers


def key_reused(key: str) -> Problem:
    """The key belongs to a request or message with another body."""
    return Problem(
        409,
        "key-reused",
        "The key was used before for another request",
        f"The key {key!r} belongs to a request with another body; nothing was decided or applied.",
    )


def unreachable_database(error: Exception) -> Problem:
    """The operational database is away; the question may be repeated."""
    return Problem(
        503,
        "database-unreachable",
        "The operational database does not answer",
        f"It is safe to ask again. {error}",
        {"Retry-After": "1"},
    )


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - the handler is registered for this class
    return _answer(
        request, error.status, error.name, error.title, error.detail, headers=error.headers
    )


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [FieldError(field=_place(e), message=_message(e)) for e in error.errors()]
    detail = "; ".join(f"{one.field}: {one.message}" for one in errors)
    return _answer(
        request, 422, "invalid-request", "The request is not valid", detail, errors=errors
    )


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # What the framework says of a body that is not even text.
        errors = [FieldError(field="body", message="not JSON: unreadable")]
        title, detail = "The request is not valid", "body: not JSON: unreadable"
        return _answer(request, 422, "invalid-request", title, detail, errors=errors)
    phrase = HTTPStatus(error.status_code).phrase
    name = phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    return _answer(request, error.status_code, name, phrase, str(error.detail), headers=headers)


def _unexpected(request: Request, error: Exception) -> Response:
    return _answer(
        request, 500, "internal", "Something went wrong here", "The error has been logged."
    )


def _answer(
    request: Request,
    status: int,
    name: str,
    title: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    errors: Sequence[FieldError] | None = None,
) -> Response:
    document: dict[str, Any] = {
        "type": f"urn:millrace:problem:{name}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
    }
    if errors is not None:
        document["errors"] = [one.model_dump() for one in errors]
    return Response(orjson.dumps(document), status, headers, MEDIA_TYPE)


def _place(error: dict[str, Any]) -> str:
    """The field by its path below body, header or path; the body itself when it cannot be read."""
    if error["type"] == "json_invalid":
        return "body"
    names = [str(part) for part in error["loc"]]
    return ".".join(names[1:]) or names[0]


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"not JSON: {error.get('ctx', {}).get('error', 'unreadable')}"
    return str(error["msg"])
