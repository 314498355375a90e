"""Decides authorizations: requests in, one decision each in Postgres and on the decided topic.

Order per card is kept. A request that arrives again gets its stored decision: its ids follow from
its key, and the database decides a key once. A refusal is never taken on a copy: what Redis would
refuse is read again from the database, so a stale or empty Redis costs time and nothing else.
Velocity is exact: who judged on an old history is told so, and judges again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord

from schemas import topics
from schemas.codes_card import CardMessageKind, MessageKind
from schemas.events import AuthorizationDecided, AuthorizationRequested
from streams import metrics
from streams.authorization import answering, policy
from streams.authorization.facts import Facts
from streams.authorization.form import CARD_ID
from streams.authorization.history import CardHistory
from streams.authorization.judging import Judged, judge, remembered, row_of
from streams.authorization.policy import CardFacts
from streams.authorization.ruleset_source import RuleSetSource, RulesInForce
from streams.batch_agents import Message, batches
from streams.codec import Codec, Undecodable
from streams.decisions import Decisions
from streams.ledger import Ledger

REQUESTED = "credit.authorization.AuthorizationRequested"
FIELDS = frozenset(AuthorizationRequested.__dataclass_fields__)
# What was decided or done elsewhere: applied, not judged.
APPLIED = frozenset({MessageKind.ADVICE.value, CardMessageKind.REVERSAL.value})
# Judging again this often means that others decide on the same cards all the time.
ROUNDS_MAX = 6
LANES = 3


@dataclass(frozen=True)
class Means:
    """What the agent works with."""

    facts: Facts
    ledger: Ledger
    decisions: Decisions
    rules: RuleSetSource


def decode(codec: Codec, record: ConsumerRecord) -> AuthorizationRequested:
    """The request in a record; one without a value asks nothing and is refused."""
    if record.value is None:
        raise Undecodable("null_value", "a request must have a value")
    fields = codec.decode(record.value, REQUESTED)
    try:
        return AuthorizationRequested(**fields)
    except TypeError:  # a later schema has fields that mean nothing here, or lacks one of ours
        known = {name: value for name, value in fields.items() if name in FIELDS}
        return AuthorizationRequested(**known)


@batches(topics.AUTHORIZATION_REQUESTED, capability="authorization", decode=decode, lanes=LANES)
async def authorize(messages: Sequence[Message], means: Means) -> Awaitable[Any]:
    """Decide or apply each message once, and answer each attempt."""
    requests: list[AuthorizationRequested] = [message.event for message in messages]
    answers: dict[int, AuthorizationDecided] = {}
    for numbers in rounds(requests):
        chosen = [requests[number] for number in numbers]
        work = apply if chosen[0].message_kind in APPLIED else decide
        answers.update(zip(numbers, await work(chosen, means), strict=True))
    acknowledgement = await means.decisions.send(
        (message.record.partition, answers[number]) for number, message in enumerate(messages)
    )
    count(answers.values())
    return acknowledgement


def rounds(requests: Sequence[AuthorizationRequested]) -> Iterator[list[int]]:
    """The requests in rounds of those that are decided and those that are applied, by turns.

    Each card's are in their order. Which is decided after an increment to a new total waits for the
    round after, since only Postgres knows what that added.
    """
    by_round: dict[int, list[int]] = defaultdict(list)
    next_round: dict[str, int] = {}
    for number, request in enumerate(requests):
        card_id = request.card_id.lower()
        turn = next_round.get(card_id, 0)
        # Even rounds decide, odd ones apply.
        turn += (turn % 2) ^ (request.message_kind in APPLIED)
        by_round[turn].append(number)
        next_round[card_id] = turn + 2 if request.amount_is_total else turn
    for turn in sorted(by_round):
        yield by_round[turn]


async def decide(
    requests: Sequence[AuthorizationRequested], means: Means
) -> list[AuthorizationDecided]:
    """Decide each request once; in order for each card."""
    rules = means.rules.current
    not_copied = _collateralized(rules)
    cards = {r.card_id.lower() for r in requests if CARD_ID.fullmatch(r.card_id)}
    facts = await means.facts.read(cards, not_copied) if cards else {}
    answers: dict[int, AuthorizationDecided] = {}
    waiting = list(range(len(requests)))
    for _ in range(ROUNDS_MAX):
        judged = await _judged([requests[n] for n in waiting], facts, rules, means)
        storable = [one for one in judged if one.verdict.is_storable]
        until = min((j.request.deadline_at for j in storable if j.verdict.approved), default=None)
        rows = iter(
            await means.ledger.decide_and_hold([row_of(one) for one in storable], until)
            if storable
            else ()
        )
        now = datetime.now(UTC)
        pairs = [(one, next(rows) if one.verdict.is_storable else None) for one in judged]
        stale = _settle(pairs, means.facts)
        for number, (one, row) in zip(waiting, pairs, strict=True):
            if row is None:
                answers[number] = answering.refused(
                    one.request, one.verdict.reason, one.verdict.rule_version, now
                )
            elif not row["stale"]:
                answers[number] = answering.decided(one, row, now)
        waiting = [number for number in waiting if number not in answers]
        if not waiting:
            return [answers[number] for number in range(len(requests))]
        metrics.STALE.inc(len(waiting))
        facts = await _looked_at_again(facts, stale, means.facts)
    raise TimeoutError("others decide on the same cards all the time")


async def apply(
    requests: Sequence[AuthorizationRequested], means: Means
) -> list[AuthorizationDecided]:
    """Apply each message once; what nobody could store is refused."""
    now = datetime.now(UTC)
    refusals = [policy.well_formed(request, now) for request in requests]
    messages = [
        _message(request)
        for request, refusal in zip(requests, refusals, strict=True)
        if refusal is None
    ]
    rows = iter(await means.ledger.apply_messages(messages) if messages else ())
    now = datetime.now(UTC)
    answers = []
    for request, refusal in zip(requests, refusals, strict=True):
        if refusal is not None:
            answers.append(answering.refused(request, refusal.reason, "", now))
            continue
        answers.append(answering.applied(request, next(rows), now))
        # An advice may have become a decision of the card.
        means.facts.histories.forget(request.card_id.lower())
    return answers


async def _judged(
    requests: Sequence[AuthorizationRequested],
    facts: dict[str, CardFacts],
    rules: RulesInForce,
    means: Means,
) -> list[Judged]:
    """Verdicts; refusals that rest on a copy only once the database has said the same."""
    now = datetime.now(UTC)
    judged = judge(requests, facts, rules.active, rules.shadows, now)
    doubtful = {one.request.card_id.lower() for one in judged if one.is_doubtful}
    if not doubtful:
        return judged
    for card_id, read in (await means.facts.read_record(doubtful)).items():
        facts[card_id] = replace(read, history=facts[card_id].history)
    again = [n for n, one in enumerate(judged) if one.request.card_id.lower() in doubtful]
    anew = judge([requests[n] for n in again], facts, rules.active, rules.shadows, now)
    for number, one in zip(again, anew, strict=True):
        judged[number] = one
    return judged


def _settle(
    pairs: Sequence[tuple[Judged, Mapping[str, Any] | None]], facts: Facts
) -> dict[str, bool]:
    """Remember what was decided. The cards with a stale request: True where we know better now."""
    stale: dict[str, bool] = {}
    decided: dict[str, CardHistory] = {}
    for one, row in pairs:
        card_id = one.request.card_id.lower()
        if row is None or one.facts.card is None:
            continue
        if row["stale"]:
            stale[card_id] = card_id in decided
        elif not row["replayed"] and not row["conflict"]:
            decided[card_id] = remembered(one, row)
            _compare(one)
    for card_id, history in decided.items():
        facts.histories.extend(card_id, history)
    for one, _ in pairs:
        if one.request.amount_is_total:  # only Postgres knows what that added
            facts.histories.forget(one.request.card_id.lower())
    return stale


async def _looked_at_again(
    known: dict[str, CardFacts], stale: Mapping[str, bool], facts: Facts
) -> dict[str, CardFacts]:
    """The facts of the stale cards: with what we remember now, else from the database."""
    found = {}
    unknown = []
    for card_id, knows_better in stale.items():
        history = facts.histories.get(card_id) if knows_better else None
        if history is None:
            unknown.append(card_id)
        else:
            found[card_id] = replace(known[card_id], history=history)
    return found | (await facts.read_again(unknown) if unknown else {})


def _collateralized(rules: RulesInForce) -> frozenset[str]:
    """The programs whose collateral is judged: its prices are in no copy."""
    sets = (rules.active, *rules.shadows)
    return frozenset(name for one in sets if one.health for name in one.health.programs)


def _message(request: AuthorizationRequested) -> dict[str, Any]:
    """The request as card.apply_messages takes it."""
    return {
        "message_key": request.idempotency_key,
        "message_kind": request.message_kind,
        "request_hash": request.request_hash,
        "original_key": request.original_key,
        "card_id": request.card_id,
        "amount_minor": request.amount_minor,
        "currency": request.currency,
        "amount_is_total": request.amount_is_total,
        "network": request.network,
        "merchant_id": request.merchant_id,
        "mcc": request.mcc,
        "merchant_country": request.merchant_country,
        "channel": request.channel,
        "occurred_at": request.requested_at,
        "body": vars(request),
    }


def _compare(judged: Judged) -> None:
    for verdict in judged.shadows:
        if verdict.reason is not judged.verdict.reason:
            metrics.SHADOW_DIFFERENCES.labels(verdict.rule_version).inc()


def count(answers: Collection[AuthorizationDecided]) -> None:
    """What was answered, and how long it took."""
    now = datetime.now(UTC).timestamp()
    counted: Counter[tuple[str, str, bool]] = Counter()
    for answer in answers:
        kind = answer.message_kind if answer.message_kind in APPLIED else ""
        counted[kind, answer.reason_code, answer.replayed] += 1
        if not kind:
            metrics.DECISION_SECONDS.observe(now - answer.requested_at.timestamp())
    for (kind, reason, replayed), times in counted.items():
        labels = (reason, str(replayed).lower())
        counter = (
            metrics.APPLIED.labels(kind, *labels) if kind else metrics.DECISIONS.labels(*labels)
        )
        counter.inc(times)
