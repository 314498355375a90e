"""Answers on the decided topic: to what was decided, to what was refused at the door, to messages.

A message that is applied and not decided is answered with its outcome as the reason. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas.codes import RESPONSE_CODE, Decision, Reason
from schemas.codes_card import CardMessageState
from schemas.events import AuthorizationDecided, AuthorizationRequested
from streams.authorization.judging import Judged
from streams.authorization.policy import derived_id

INVALID, DUPLICATE = "12", "94"


def decided(judged: Judged, row: Mapping[str, Any], now: datetime) -> AuthorizationDecided:
    """What the database decided; an approval that comes too late is none."""
    request, verdict = judged.request, judged.verdict
    if row["decision"] == Decision.APPROVED and now > request.deadline_at and not row["conflict"]:
        return refused(request, Reason.DEADLINE_EXCEEDED, verdict.rule_version, now)
    return AuthorizationDecided(
        request.request_id,
        request.idempotency_key,
        row["authorization_id"],
        request.card_id,
        row["account_id"],
        row["decision"],
        row["response_code"],
        row["reason_code"],
        row["approved_amount_minor"],
        request.currency,
        verdict.rule_version,
        row["replayed"],
        row["conflict"],
        request.requested_at,
        row["decided_at"],
        request.correlation_id,
        request.message_kind,
        row["stand_in"],
        verdict.risk_score,
        [hit.rule for hit in verdict.hits],
    )


def refused(
    request: AuthorizationRequested, reason: Reason, rule_version: str, now: datetime
) -> AuthorizationDecided:
    """The answer to a request too malformed to store, or too late. It takes no key."""
    if reason is Reason.APPROVED:
        raise ValueError("only what is stored can be approved")
    return _answer(
        request,
        authorization_id=derived_id("authorization", request.idempotency_key),
        decision=Decision.DECLINED,
        response_code=RESPONSE_CODE[reason],
        reason_code=reason,
        rule_version=rule_version,
        now=now,
    )


def applied(
    request: AuthorizationRequested, row: Mapping[str, Any], now: datetime
) -> AuthorizationDecided:
    """What a message came to: approved when it was applied or waits for what it is about."""
    is_refused = row["state"] == CardMessageState.REFUSED or row["conflict"]
    code = (DUPLICATE if row["conflict"] else INVALID) if is_refused else "00"
    return _answer(
        request,
        authorization_id=str(
            row["authorization_id"]
            or derived_id("authorization", request.original_key or request.idempotency_key)
        ),
        decision=Decision.DECLINED if is_refused else Decision.APPROVED,
        response_code=code,
        reason_code=row["outcome"],
        rule_version="",
        now=now,
        approved_amount_minor=row["applied_minor"],
        replayed=row["replayed"],
        conflict=row["conflict"],
    )


def _answer(
    request: AuthorizationRequested,
    *,
    authorization_id: str,
    decision: str,
    response_code: str,
    reason_code: str,
    rule_version: str,
    now: datetime,
    approved_amount_minor: int = 0,
    replayed: bool = False,
    conflict: bool = False,
) -> AuthorizationDecided:
    return AuthorizationDecided(
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        authorization_id=authorization_id,
        card_id=request.card_id,
        account_id=None,
        decision=decision,
        response_code=response_code,
        reason_code=reason_code,
        approved_amount_minor=approved_amount_minor,
        currency=request.currency,
        rule_version=rule_version,
        replayed=replayed,
        conflict=conflict,
        requested_at=request.requested_at,
        decided_at=now,
        correlation_id=request.correlation_id,
        message_kind=request.message_kind,
    )
