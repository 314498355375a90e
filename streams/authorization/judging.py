"""A batch judged, each card's requests in order: what Postgres is asked to make of it. Pure.

Each verdict supposes that the card's earlier ones in the batch come true. Postgres finds where one
did not, by the number each decision would have, and says so; then those after it are judged again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from schemas.codes import Decision
from schemas.events import AuthorizationRequested
from streams.authorization import policy
from streams.authorization.history import Attempt, CardHistory, milliseconds
from streams.authorization.policy import CardFacts, Verdict
from streams.authorization.rules import Hit, RuleSet

UNKNOWN = CardFacts()


@dataclass(frozen=True, slots=True)
class Judged:
    """A request with its verdict, and the card's history before and after it."""

    request: AuthorizationRequested
    verdict: Verdict
    facts: CardFacts
    # None: nothing that its card will remember.
    after: CardHistory | None
    attempt: Attempt | None
    shadows: tuple[Verdict, ...] = ()

    @property
    def is_doubtful(self) -> bool:
        """True for a refusal that rests on a copy."""
        return self.facts.is_copy and not self.verdict.approved and self.verdict.is_storable


def judge(
    requests: Iterable[AuthorizationRequested],
    facts: Mapping[str, CardFacts],
    rules: RuleSet,
    shadows: Sequence[RuleSet],
    now: datetime,
) -> list[Judged]:
    """The verdicts, in order; those in shadow see exactly the same."""
    histories: dict[str, CardHistory] = {}
    keys: set[str] = set()
    found = []
    for request in requests:
        card_id = request.card_id.lower()
        known = facts.get(card_id, UNKNOWN)
        if (history := histories.get(card_id)) is not None:
            known = replace(known, history=history)
        verdict = policy.decide(request, known, rules, now)
        after = attempt = None
        beside: tuple[Verdict, ...] = ()
        if verdict.is_storable:
            if shadows:
                same = replace(known, features=verdict.features)
                beside = tuple(policy.decide(request, same, one, now) for one in shadows)
            if known.card is not None and request.idempotency_key not in keys:
                approved = request.amount_minor if verdict.approved else 0
                attempt = attempt_of(
                    request, milliseconds(verdict.moment), verdict.decision, approved
                )
                after = known.history.after(attempt)
                histories[card_id] = after
            keys.add(request.idempotency_key)
        found.append(Judged(request, verdict, known, after, attempt, beside))
    return found


def attempt_of(
    request: AuthorizationRequested, at_ms: int, decision: str, approved_minor: int
) -> Attempt:
    """What the card remembers of a decision."""
    return Attempt(
        at_ms,
        decision,
        request.amount_minor,
        approved_minor,
        request.merchant_id,
        request.mcc,
        request.merchant_country,
        request.channel,
        request.terminal_latitude_e6,
        request.terminal_longitude_e6,
        request.currency,
    )


def remembered(judged: Judged, row: Mapping[str, Any]) -> CardHistory:
    """The card's history after what Postgres, which knew all that was before, made of it."""
    attempt, at_ms = judged.attempt, milliseconds(row["decided_at"])
    if (
        judged.after is not None
        and attempt is not None
        and row["decision"] == attempt.decision
        and row["approved_amount_minor"] == attempt.approved_amount_minor
        and at_ms == attempt.decided_at_ms
    ):
        return judged.after
    approved = row["approved_amount_minor"] if row["decision"] == Decision.APPROVED else 0
    return judged.facts.history.after(attempt_of(judged.request, at_ms, row["decision"], approved))


def row_of(judged: Judged) -> dict[str, Any]:
    """The request and its verdict as card.decide_and_hold takes them."""
    request, verdict, facts = judged.request, judged.verdict, judged.facts
    key = request.idempotency_key
    return {
        "request_id": request.request_id,
        "authorization_id": policy.derived_id("authorization", key),
        "hold_id": policy.derived_id("hold", key),
        "entry_id": policy.derived_id("entry", key),
        "idempotency_key": key,
        "request_hash": request.request_hash,
        "message_kind": request.message_kind,
        "original_key": request.original_key,
        "amount_is_total": request.amount_is_total,
        "partial_allowed": request.partial_allowed,
        "card_id": request.card_id,
        "account_id": facts.card.account_id if facts.card else None,
        "amount_minor": request.amount_minor,
        "currency": request.currency,
        "merchant_id": request.merchant_id,
        "mcc": request.mcc,
        "merchant_country": request.merchant_country,
        "channel": request.channel,
        "network": request.network,
        "terminal_latitude_e6": request.terminal_latitude_e6,
        "terminal_longitude_e6": request.terminal_longitude_e6,
        "decision": verdict.decision,
        "response_code": verdict.response_code,
        "reason_code": verdict.reason,
        "rule_hits": _hits(verdict.hits),
        "facts": _document(judged),
        "rule_version": verdict.rule_version,
        "shadows": [_shadow(one) for one in judged.shadows] or None,
        "card_version": facts.history.version + 1 if facts.card else None,
        "requested_at": request.requested_at,
        "decided_at": verdict.moment,
    }


def _document(judged: Judged) -> dict[str, Any]:
    """What the verdict rests on, and the points of its risk score."""
    verdict = judged.verdict
    document = policy.facts_document(judged.request, judged.facts, verdict.features)
    document["risk"] = {
        "score": verdict.risk_score,
        "signals": [
            {"rule": s.rule, "points": s.points, "explanation": s.explanation}
            for s in verdict.signals
        ],
    }
    return document


def _shadow(verdict: Verdict) -> dict[str, Any]:
    return {
        "version": verdict.rule_version,
        "decision": verdict.decision,
        "response_code": verdict.response_code,
        "reason_code": verdict.reason,
        "rule_hits": _hits(verdict.hits),
    }


def _hits(hits: tuple[Hit, ...]) -> list[dict[str, str]]:
    return [{"rule": h.rule, "reason": h.reason, "explanation": h.explanation} for h in hits]
