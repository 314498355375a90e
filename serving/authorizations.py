"""POST and GET of authorizations: ask for a decision, look a stored one up."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from schemas.codes import RESPONSE_CODE, Decision, Reason
from schemas.events import AuthorizationDecided, AuthorizationRequested, request_hash
from serving import metrics
from serving.decider import Decider, DeciderLate, DeciderUnreachable
from serving.problems import Problem, ProblemDocument
from serving.records import Records
from serving.shapes import (
    KEY,
    AuthorizationAnswer,
    AuthorizationRequest,
    DeadlineMs,
    StoredAuthorization,
)
from streams.authorization.policy import derived_id

PROBLEMS: dict[int | str, dict[str, Any]] = {
    409: {"model": ProblemDocument, "description": "The key was used before for another body."},
    422: {"model": ProblemDocument, "description": "The request is not valid; names each field."},
    503: {"model": ProblemDocument, "description": "Kafka cannot be reached; try again."},
}
CorrelationId = Annotated[str | None, Header(pattern=KEY)]


def router(decider: Decider, records: Records) -> APIRouter:
    """The routes, over the decider and the stored decisions."""
    routes = APIRouter(prefix="/v1/authorizations", tags=["authorizations"])

    @routes.post("", response_model=AuthorizationAnswer, responses=PROBLEMS)
    async def authorize(
        body: AuthorizationRequest,
        idempotency_key: Annotated[str | None, Header(pattern=KEY)] = None,
        deadline_ms: Annotated[DeadlineMs | None, Header(alias="Deadline-Ms")] = None,
        x_correlation_id: CorrelationId = None,
    ) -> Response:
        """Decide an authorization, once for its key. The same key gets the same answer for ever.

        The key is `network_transaction_id`, or the Idempotency-Key header. When no decision comes
        within the deadline the answer is a decline (91) marked `stand_in`; asking again with the
        same key gives the decision itself.
        """
        request = to_event(body, idempotency_key, deadline_ms, x_correlation_id)
        with metrics.IN_FLIGHT.track_inprogress():
            answer = await _decided(decider, request)
        headers = {"X-Correlation-Id": request.correlation_id}
        return Response(answer.model_dump_json(), 200, headers, "application/json")

    @routes.get(
        "/{idempotency_key:path}",
        response_model=StoredAuthorization,
        responses={404: {"model": ProblemDocument, "description": "Nothing was decided for it."}},
    )
    async def stored(idempotency_key: str) -> dict[str, Any]:
        """The stored decision of a key, with every rule that fired."""
        try:
            found = await records.decision(idempotency_key)
        except Exception as error:
            raise Problem(
                503,
                "database-unreachable",
                "Stored decisions cannot be read",
                f"The operational database does not answer: {error}",
                {"Retry-After": "1"},
            ) from error
        if found is None:
            raise Problem(
                404,
                "unknown-key",
                "Nothing has been decided for this key",
                f"There is no authorization with the key {idempotency_key!r}.",
            )
        return found

    return routes


def to_event(
    body: AuthorizationRequest,
    idempotency_key: str | None,
    deadline_ms: int | None,
    correlation_id: str | None,
) -> AuthorizationRequested:
    """The request as the event that the decider reads."""
    now = datetime.now(UTC)
    request_id = str(uuid.uuid4())
    asked: dict[str, Any] = body.model_dump(
        mode="json", exclude={"network_transaction_id", "deadline_ms"}
    )
    return AuthorizationRequested(
        request_id=request_id,
        idempotency_key=idempotency_key or body.network_transaction_id,
        request_hash=request_hash(**asked),
        **asked,
        requested_at=now,
        deadline_at=now + timedelta(milliseconds=deadline_ms or body.deadline_ms),
        correlation_id=correlation_id or request_id,
    )


async def _decided(decider: Decider, request: AuthorizationRequested) -> AuthorizationAnswer:
    started = time.perf_counter()
    timeout_s = (request.deadline_at - datetime.now(UTC)).total_seconds()
    try:
        decision = await decider.ask(request, timeout_s)
    except DeciderUnreachable as error:
        metrics.REFUSED.inc()
        raise Problem(
            503,
            "decider-unreachable",
            "The request could not be handed over",
            f"{error}. It is safe to send it again with the same key.",
            {"Retry-After": "1"},
        ) from error
    except DeciderLate:
        metrics.STAND_INS.inc()
        decision = stand_in(request)
    seconds = time.perf_counter() - started
    metrics.LATENCY_S.observe(seconds)
    if decision.conflict:
        metrics.CONFLICTS.inc()
        raise Problem(
            409,
            "key-reused",
            "The key was used before for another request",
            f"The key {request.idempotency_key!r} belongs to a request with another body; "
            "nothing was decided.",
        )
    metrics.DECISIONS.labels(decision.decision, decision.reason_code).inc()
    return AuthorizationAnswer(
        authorization_id=uuid.UUID(decision.authorization_id),
        idempotency_key=decision.idempotency_key,
        decision=Decision(decision.decision),
        response_code=decision.response_code,
        reason_code=Reason(decision.reason_code),
        approved_amount_minor=decision.approved_amount_minor,
        currency=decision.currency,
        replayed=decision.replayed,
        stand_in=decision.reason_code == Reason.DECIDER_UNAVAILABLE,
        decided_at=decision.decided_at,
        latency_ms=round(seconds * 1000, 3),
    )


def stand_in(request: AuthorizationRequested) -> AuthorizationDecided:
    """The answer when none came in time: a decline, under the id the decision itself will have."""
    reason = Reason.DECIDER_UNAVAILABLE
    return AuthorizationDecided(
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        authorization_id=derived_id("authorization", request.idempotency_key),
        card_id=request.card_id,
        account_id=None,
        decision=Decision.DECLINED,
        response_code=RESPONSE_CODE[reason],
        reason_code=reason,
        approved_amount_minor=0,
        currency=request.currency,
        rule_version="",
        replayed=False,
        conflict=False,
        requested_at=request.requested_at,
        decided_at=datetime.now(UTC),
        correlation_id=request.correlation_id,
    )
