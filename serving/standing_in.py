"""The answer when nobody decides in time: a small approval the card's allowance covers, else 91.

The order matters. What this gateway has told for the key is told again; what Postgres has decided
is that; only then the allowance is asked. The answer is on disk before it is given. When there is
no time for that, or no disk, it is a decline. All requests of one key share one answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import redis

from schemas.codes import RESPONSE_CODE, Decision, Reason
from schemas.codes_card import MessageKind
from schemas.events import AuthorizationDecided, AuthorizationRequested
from serving import metrics
from serving.advice import Advisor, as_bytes, authorization_id
from serving.allowance import KEY_REUSED, Allowance, Grant
from serving.journal import Entry, Journal, JournalUnwritable
from serving.records import Records

log = logging.getLogger(__name__)
RULES = "stand-in"
# Of the time that is left, what Postgres gets, and what Redis gets of the rest; the disk has what
# then remains.
POSTGRES_SHARE, REDIS_SHARE = 0.25, 0.5
SHORTEST_S, LONGEST_S = 0.005, 0.05
REMEMBERED = 10_000
# Questions to a Postgres that does not answer; no more are asked meanwhile.
LOOKUPS_MOST = 8


class StandIn:
    """Answers in the decider's place."""

    def __init__(
        self, journal: Journal, allowance: Allowance, records: Records, advisor: Advisor
    ) -> None:
        self._journal = journal
        self._allowance = allowance
        self._records = records
        self._advisor = advisor
        # One answer in the making for each key, and answers whose journal entry is being corrected.
        self._making: dict[str, asyncio.Task[AuthorizationDecided]] = {}
        self._correcting: dict[str, tuple[str, AuthorizationDecided]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookups: set[asyncio.Task[dict[str, Any] | None]] = set()
        # What was told lately and is in no journal: a repeat is told the same.
        self._told_lately: OrderedDict[str, tuple[str, AuthorizationDecided]] = OrderedDict()

    async def stop(self) -> None:
        """Finish the answers that are being made or corrected."""
        pending = [*self._making.values(), *self._tasks]
        await asyncio.gather(*pending, return_exceptions=True)
        lookups = list(self._lookups)
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def is_unsettled(self, key: str) -> bool:
        """Whether the key's answer may still change."""
        return key in self._making or key in self._correcting

    def told(self, request: AuthorizationRequested) -> AuthorizationDecided | None:
        """The answer that stand-in gave for the key before; a conflict for another request."""
        key = request.idempotency_key
        if (corrected := self._correcting.get(key)) is not None:
            return _again(corrected[1], corrected[0], request)
        entry = None if key in self._making else self._journal.told(key)
        return (
            None if entry is None else _again(_decided(entry.answer), entry.request_hash, request)
        )

    def decided(
        self, request: AuthorizationRequested, decision: AuthorizationDecided
    ) -> AuthorizationDecided | None:
        """The decider has answered in time: remember it, unless the key is answered otherwise."""
        if (told := self.told(request)) is not None:
            return told
        if request.idempotency_key in self._making:
            return None
        if not decision.conflict:
            self._remember(request, decision)
        return decision

    def _remember(self, request: AuthorizationRequested, told: AuthorizationDecided) -> None:
        self._told_lately[request.idempotency_key] = (request.request_hash, told)
        if len(self._told_lately) > REMEMBERED:
            self._told_lately.popitem(last=False)

    async def answer(self, request: AuthorizationRequested, until: float) -> AuthorizationDecided:
        """The answer, by the loop's time `until`; at once when everything needed is there."""
        key = request.idempotency_key
        if (told := self.told(request)) is not None:
            return told
        if (made := self._told_lately.get(key)) is not None:
            return _again(made[1], made[0], request)
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._make(request, until))
            self._making[key] = making
            making.add_done_callback(lambda _: self._settled(key))
            return await asyncio.shield(making)
        answer = await asyncio.shield(making)
        told = self.told(request)
        return told if told is not None else replace(answer, replayed=True)

    def _settled(self, key: str) -> None:
        self._making.pop(key, None)
        self._advisor.wake()

    async def _make(self, request: AuthorizationRequested, until: float) -> AuthorizationDecided:
        if (stored := await self._stored(request, _patience_s(until, POSTGRES_SHARE))) is not None:
            return stored
        grant = await self._grant(request, _patience_s(until, REDIS_SHARE))
        if grant.verdict == KEY_REUSED:
            return replace(declined(request), conflict=True)
        answer = approved(request, grant) if grant.approved else declined(request, grant.account_id)
        try:
            # Shielded: what was given to the disk is not taken back by a deadline.
            async with asyncio.timeout_at(until):
                writing = asyncio.ensure_future(self._write(request, answer))
                writing.add_done_callback(_seen)
                await asyncio.shield(writing)
        except JournalUnwritable as error:
            return self._unwritten(request, error)
        except TimeoutError as error:
            return self._corrected(request, answer, error)
        metrics.STAND_INS.labels(answer.decision, grant.verdict).inc()
        return answer

    def _unwritten(self, request: AuthorizationRequested, error: Exception) -> AuthorizationDecided:
        """Nothing is on disk: decline, and tell it as well as this process can."""
        log.error("a stand-in answer could not be kept: %s", error)
        metrics.STAND_INS.labels(Decision.DECLINED, "UNWRITTEN").inc()
        self._advisor.tell_once(request)
        decline = declined(request, reason=Reason.DECIDER_UNAVAILABLE)
        self._remember(request, decline)
        return decline

    def _corrected(
        self, request: AuthorizationRequested, answer: AuthorizationDecided, error: Exception
    ) -> AuthorizationDecided:
        """The disk took too long and may yet write the answer: make it say what is told now."""
        log.error("the disk is too slow for a stand-in answer: %r", error)
        metrics.STAND_INS.labels(Decision.DECLINED, "DISK_SLOW").inc()
        decline = declined(request, answer.account_id)
        self._correcting[request.idempotency_key] = (request.request_hash, decline)
        task = asyncio.create_task(self._correct(request, decline))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return decline

    async def _correct(self, request: AuthorizationRequested, answer: AuthorizationDecided) -> None:
        """Entries are written in the order they were given, so this one is the last word."""
        try:
            await self._write(request, answer)
        except JournalUnwritable:
            self._advisor.tell_once(request)
            self._remember(request, answer)
        finally:
            del self._correcting[request.idempotency_key]
            self._advisor.wake()

    async def _write(self, request: AuthorizationRequested, answer: AuthorizationDecided) -> None:
        await self._journal.write(
            Entry(
                key=request.idempotency_key,
                request_hash=request.request_hash,
                card_id=request.card_id.lower(),
                approved_minor=answer.approved_amount_minor,
                told_at=time.time(),
                request=as_bytes(request),
                answer=orjson.dumps(asdict(answer)),
            )
        )

    async def _stored(
        self, request: AuthorizationRequested, patience_s: float
    ) -> AuthorizationDecided | None:
        """What Postgres has for the key, when it can say so in time.

        A question that gets no answer is left to itself: to withdraw it takes longer than we have.
        """
        if len(self._lookups) >= LOOKUPS_MOST:
            return None
        lookup = asyncio.create_task(self._records.decision(request.idempotency_key))
        self._lookups.add(lookup)
        lookup.add_done_callback(self._looked_up)
        await asyncio.wait({lookup}, timeout=patience_s)
        if not lookup.done() or lookup.exception() is not None:
            return None
        row = lookup.result()
        return None if row is None else from_row(row, request)

    def _looked_up(self, lookup: asyncio.Task[dict[str, Any] | None]) -> None:
        self._lookups.discard(lookup)
        if not lookup.cancelled() and (error := lookup.exception()) is not None:
            log.debug("stored decisions cannot be asked: %r", error)

    async def _grant(self, request: AuthorizationRequested, patience_s: float) -> Grant:
        """What the allowance says; only purchases have one."""
        if request.message_kind != MessageKind.PURCHASE or request.amount_minor == 0:
            return Grant("NO_PURCHASE", None)
        try:
            async with asyncio.timeout(patience_s):
                journaled = self._journal.open_of(request.card_id.lower())
                return await self._allowance.take(request, journaled)
        except (redis.RedisError, OSError, TimeoutError) as error:
            log.warning("the stand-in allowance cannot be asked: %r", error)
            return Grant("REDIS_AWAY", None)


def _seen(writing: asyncio.Future[None]) -> None:
    """An error that nobody waits for any more has been seen: a correction follows."""
    if not writing.cancelled():
        writing.exception()


def _patience_s(until: float, share: float) -> float:
    left_s = until - asyncio.get_running_loop().time()
    return max(SHORTEST_S, min(LONGEST_S, left_s * share))


def approved(request: AuthorizationRequested, grant: Grant) -> AuthorizationDecided:
    """An approval within the allowance."""
    return _answer(
        request, Reason.STAND_IN_APPROVED, Decision.APPROVED, grant.account_id, request.amount_minor
    )


def declined(
    request: AuthorizationRequested,
    account_id: str | None = None,
    reason: Reason = Reason.STAND_IN_DECLINED,
) -> AuthorizationDecided:
    """A decline."""
    return _answer(request, reason, Decision.DECLINED, account_id, 0)


def _answer(
    request: AuthorizationRequested,
    reason: Reason,
    decision: Decision,
    account_id: str | None,
    approved_minor: int,
) -> AuthorizationDecided:
    return AuthorizationDecided(
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        authorization_id=authorization_id(request.idempotency_key),
        card_id=request.card_id,
        account_id=account_id,
        decision=decision,
        response_code=RESPONSE_CODE[reason],
        reason_code=reason,
        approved_amount_minor=approved_minor,
        currency=request.currency,
        rule_version=RULES,
        replayed=False,
        conflict=False,
        requested_at=request.requested_at,
        decided_at=datetime.now(UTC),
        correlation_id=request.correlation_id,
        message_kind=request.message_kind,
        stand_in=True,
    )


def from_row(row: dict[str, Any], request: AuthorizationRequested) -> AuthorizationDecided:
    """A stored decision as the answer to another attempt at its key."""
    return AuthorizationDecided(
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        authorization_id=str(row["authorization_id"]),
        card_id=request.card_id,
        account_id=None if row["account_id"] is None else str(row["account_id"]),
        decision=row["decision"],
        response_code=row["response_code"],
        reason_code=row["reason_code"],
        approved_amount_minor=row["approved_amount_minor"],
        currency=row["currency"],
        rule_version=row["rule_version"],
        replayed=True,
        conflict=row["request_hash"] != request.request_hash,
        requested_at=request.requested_at,
        decided_at=row["decided_at"],
        correlation_id=request.correlation_id,
        message_kind=row["message_kind"],
        stand_in=row["is_stand_in"],
        rules_hit=tuple(str(hit) for hit in row["rule_hits"] if isinstance(hit, str)),
    )


def _again(
    answer: AuthorizationDecided, request_hash: str, request: AuthorizationRequested
) -> AuthorizationDecided:
    return replace(
        answer,
        request_id=request.request_id,
        correlation_id=request.correlation_id,
        replayed=True,
        conflict=request_hash != request.request_hash,
    )


def _decided(answer: bytes) -> AuthorizationDecided:
    found = orjson.loads(answer)
    found["rules_hit"] = tuple(found["rules_hit"])
    for name in ("requested_at", "decided_at"):
        found[name] = datetime.fromisoformat(found[name])
    return AuthorizationDecided(**found)
