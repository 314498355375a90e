"""Decides authorizations: requests in, one decision each in Postgres and on the decided topic.

Order per card is kept. A request that arrives again gets its stored decision: its ids follow from
its key, and the database decides a key once. A refusal is never taken on a copy: what Redis would
refuse is read again from the database, so a stale or empty Redis costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import ConsumerRecord

from schemas import topics
from schemas.events import AuthorizationDecided, AuthorizationRequested
from streams import metrics
from streams.authorization import policy
from streams.authorization.facts import Facts
from streams.authorization.policy import CardFacts, Verdict
from streams.batches import Message, batches
from streams.codec import Codec, Undecodable
from streams.decisions import Decisions
from streams.ledger import Ledger

REQUESTED = "credit.authorization.AuthorizationRequested"


@dataclass(frozen=True)
class Means:
    """What the agent works with."""

    facts: Facts
    ledger: Ledger
    decisions: Decisions


async def decode(codec: Codec, record: ConsumerRecord) -> AuthorizationRequested:
    """The request in a record; one without a value asks nothing and is refused."""
    if record.value is None:
        raise Undecodable("null_value", "a request must have a value")
    return AuthorizationRequested(**await codec.decode(record.value, REQUESTED))


@batches(topics.AUTHORIZATION_REQUESTED, capability="authorization", decode=decode)
async def authorize(messages: Sequence[Message], means: Means) -> None:
    """Decide each request once and answer each attempt."""
    requests: list[AuthorizationRequested] = [message.event for message in messages]
    now = datetime.now(UTC)
    card_ids = tuple(dict.fromkeys(r.card_id.lower() for r in requests if is_readable(r, now)))
    facts = await means.facts.read(card_ids, now) if card_ids else {}
    verdicts = verdicts_on(requests, facts, now)
    doubtful = tuple(
        dict.fromkeys(
            request.card_id.lower()
            for request, verdict in zip(requests, verdicts, strict=True)
            if not verdict.approved and facts_of(request, facts).is_copy
        )
    )
    if doubtful:
        facts = {**facts, **await means.facts.read_record(doubtful, now)}
        verdicts = verdicts_on(requests, facts, now)
    pairs = list(zip(requests, verdicts, strict=True))
    rows = [to_row(r, v, facts_of(r, facts), now) for r, v in pairs if v.is_storable]
    until = min((r.deadline_at for r, v in pairs if v.approved), default=None)
    answers = iter(await means.ledger.decide_and_hold(rows, until) if rows else ())
    decided = [
        answer(r, v, next(answers)) if v.is_storable else refusal(r, v, now) for r, v in pairs
    ]
    await means.decisions.send(decided)
    for decision in decided:
        metrics.DECISIONS.labels(decision.reason_code, str(decision.replayed).lower()).inc()


def is_readable(request: AuthorizationRequested, now: datetime) -> bool:
    """True when the request is formed well enough to look its card up."""
    return policy.well_formed(request, CardFacts(), now) is None


def facts_of(request: AuthorizationRequested, facts: dict[str, CardFacts]) -> CardFacts:
    """The facts of the request's card."""
    return facts.get(request.card_id.lower(), CardFacts())


def verdicts_on(
    requests: Sequence[AuthorizationRequested], facts: dict[str, CardFacts], now: datetime
) -> list[Verdict]:
    """The policy's verdicts, in order."""
    return [policy.decide(request, facts_of(request, facts), now) for request in requests]


def to_row(
    request: AuthorizationRequested, verdict: Verdict, facts: CardFacts, now: datetime
) -> dict[str, Any]:
    """The request and its verdict as card.decide_and_hold takes them."""
    key = request.idempotency_key
    return {
        "request_id": request.request_id,
        "authorization_id": policy.derived_id("authorization", key),
        "hold_id": policy.derived_id("hold", key),
        "entry_id": policy.derived_id("entry", key),
        "idempotency_key": key,
        "request_hash": request.request_hash,
        "card_id": request.card_id,
        "account_id": facts.card.account_id if facts.card else None,
        "amount_minor": request.amount_minor,
        "currency": request.currency,
        "merchant_id": request.merchant_id,
        "mcc": request.mcc,
        "merchant_country": request.merchant_country,
        "channel": request.channel,
        "decision": verdict.decision,
        "response_code": verdict.response_code,
        "reason_code": verdict.reason,
        "rule_hits": verdict.hits,
        "facts": {**asdict(facts), "attempts": dict(facts.attempts)},
        "rule_version": verdict.rule_version,
        "requested_at": request.requested_at,
        "decided_at": now,
        "hold_expires_at": now + timedelta(days=policy.HOLD_DAYS),
    }


def answer(
    request: AuthorizationRequested, verdict: Verdict, row: dict[str, Any]
) -> AuthorizationDecided:
    """What the database decided, as the answer to this attempt."""
    return AuthorizationDecided(
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        authorization_id=str(row["authorization_id"]),
        card_id=request.card_id,
        account_id=str(row["account_id"]) if row["account_id"] else None,
        decision=row["decision"],
        response_code=row["response_code"],
        reason_code=row["reason_code"],
        approved_amount_minor=row["approved_amount_minor"],
        currency=request.currency,
        rule_version=verdict.rule_version,
        replayed=row["replayed"],
        conflict=row["conflict"],
        requested_at=request.requested_at,
        decided_at=row["decided_at"],
        correlation_id=request.correlation_id,
    )


def refusal(
    request: AuthorizationRequested, verdict: Verdict, now: datetime
) -> AuthorizationDecided:
    """The answer to a request too malformed to store. It takes no key."""
    if verdict.approved:
        raise ValueError("only what is stored can be approved")
    return answer(
        request,
        verdict,
        {
            "authorization_id": policy.derived_id("authorization", request.idempotency_key),
            "account_id": None,
            "decision": verdict.decision,
            "response_code": verdict.response_code,
            "reason_code": verdict.reason,
            "approved_amount_minor": 0,
            "replayed": False,
            "conflict": False,
            "decided_at": now,
        },
    )
