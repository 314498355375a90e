"""POST and GET of authorizations: ask for a decision, look a stored one up."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from schemas.codes import Decision, Reason
from schemas.codes_card import MessageKind
from schemas.events import AuthorizationDecided, AuthorizationRequested, request_hash
from serving import headers, metrics
from serving.answering import Answering
from serving.headers import AskHeaders
from serving.problems import Problem, ProblemDocument, key_reused, unreachable_database
from serving.records import Records
from serving.shapes import AuthorizationAnswer, AuthorizationRequest, StoredAuthorization

PROBLEMS: dict[int | str, dict[str, Any]] = {
    409: {"model": ProblemDocument, "description": "The key was used before for another body."},
    422: {"model": ProblemDocument, "description": "The request is not valid; names each field."},
}
NOT_ASKED = {"network_transaction_id", "deadline_ms"}


def router(answering: Answering, records: Records) -> APIRouter:
    """The routes, over what answers and the stored decisions."""
    routes = APIRouter(prefix="/v1/authorizations", tags=["authorizations"])

    @routes.post(
        "",
        response_model=AuthorizationAnswer,
        responses=PROBLEMS,
        openapi_extra={"parameters": headers.PARAMETERS},
    )
    async def authorize(body: AuthorizationRequest, request: Request) -> Response:
        """Decide an authorization, once for its key. The same key gets the same answer for ever.

        The key is `network_transaction_id`, or the Idempotency-Key header. When no decision comes
        within the deadline, or nobody can decide, the answer is marked `stand_in`: an approval
        within the card's small allowance, or a decline (91). It stays the key's answer.
        """
        said = headers.of(request)
        event = to_event(body, said)
        started = time.perf_counter()
        patience_s = (said.deadline_ms or body.deadline_ms) / 1000
        with metrics.IN_FLIGHT.track_inprogress():
            decision = await answering.answer(event, patience_s)
        answer = to_answer(decision, time.perf_counter() - started)
        told = {"X-Correlation-Id": event.correlation_id}
        return Response(answer.model_dump_json(), 200, told, "application/json")

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
            raise unreachable_database(error) from error
        if found is None:
            raise Problem(
                404,
                "unknown-key",
                "Nothing has been decided for this key",
                f"There is no authorization with the key {idempotency_key!r}.",
            )
        return found

    return routes


def to_event(body: AuthorizationRequest, said: AskHeaders) -> AuthorizationRequested:
    """The request as the event that the decider reads."""
    now = datetime.now(UTC)
    request_id = str(uuid.uuid4())
    asked: dict[str, Any] = body.model_dump(mode="json", exclude=NOT_ASKED)
    return AuthorizationRequested(
        request_id=request_id,
        idempotency_key=said.idempotency_key or body.network_transaction_id,
        request_hash=request_hash(**asked),
        **asked,
        requested_at=now,
        deadline_at=now + timedelta(milliseconds=said.deadline_ms or body.deadline_ms),
        correlation_id=said.correlation_id or request_id,
    )


def to_answer(decision: AuthorizationDecided, seconds: float) -> AuthorizationAnswer:
    """The decision as its caller gets it; a problem when the key was used for something else."""
    metrics.LATENCY_S.observe(seconds)
    if decision.conflict:
        metrics.CONFLICTS.inc()
        raise key_reused(decision.idempotency_key)
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
        stand_in=decision.stand_in,
        decided_at=decision.decided_at,
        latency_ms=round(seconds * 1000, 3),
        message_kind=MessageKind(decision.message_kind),
        risk_score=decision.risk_score,
        rules_hit=list(decision.rules_hit),
    )
