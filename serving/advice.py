"""Tells the decider what stand-in answered, until Kafka has it: nothing that was told gets lost.

An advice is a message of its own about the key it stands for. It carries what was asked and how
much was approved; nothing when it was declined. Sent again it changes nothing, so it is sent until
Kafka has acknowledged it, by whichever gateway process next has the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas.codes_card import MessageKind
from schemas.events import AuthorizationRequested
from serving import metrics
from serving.decider import Decider, DeciderUnreachable
from serving.journal import Entry, Journal

log = logging.getLogger(__name__)
# Retries of keys are no longer than this, so that an advice's key is one too.
KEY_PREFIX = "advice:"
BATCH_MAX = 200
LOOK_EVERY_S, RETRY_S, FORGET_EVERY_S = 1.0, 0.5, 3600.0
# Nobody waits for an advice to be applied.
NO_DEADLINE = timedelta(days=365)


def advice_of(request: AuthorizationRequested, approved_minor: int) -> AuthorizationRequested:
    """What is told of a stand-in answer to the request."""
    now = datetime.now(UTC)
    return replace(
        request,
        request_id=f"{KEY_PREFIX}{request.request_id}",
        idempotency_key=f"{KEY_PREFIX}{request.idempotency_key}",
        message_kind=MessageKind.ADVICE,
        original_key=request.idempotency_key,
        amount_minor=approved_minor,
        amount_is_total=False,
        requested_at=now,
        deadline_at=now + NO_DEADLINE,
    )


def authorization_id(idempotency_key: str) -> str:
    """The id of the row that the advice becomes when nothing was decided (card.stand_in)."""
    digest = hashlib.md5(f"advice:{KEY_PREFIX}{idempotency_key}".encode(), usedforsecurity=False)
    return str(uuid.UUID(digest.hexdigest()))


class Advisor:
    """Forwards what the journal holds and Kafka does not know."""

    def __init__(self, journal: Journal, decider: Decider) -> None:
        self._journal = journal
        self._decider = decider
        # Answers that are being given: the journal may still be told otherwise.
        self._unsettled: Callable[[str], bool] = lambda key: False
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, unsettled: Callable[[str], bool]) -> None:
        """Forward in the background; what is `unsettled` waits."""
        self._unsettled = unsettled
        self._begin(self._forward())

    async def stop(self) -> None:
        """What was not forwarded is when the gateway starts again."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def wake(self) -> None:
        """There is something new in the journal."""
        self._news.set()

    def tell_once(self, request: AuthorizationRequested) -> None:
        """An answer that the journal could not keep: said as long as this process lives."""
        self._begin(self._tell(advice_of(request, 0)))

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, advice: AuthorizationRequested) -> None:
        while True:
            try:
                await (await self._decider.send(advice))
                return
            except Exception as error:  # whatever it was, it is tried again
                log.warning("%s is not told yet: %s", advice.idempotency_key, error)
                await asyncio.sleep(RETRY_S)

    async def _forward(self) -> None:
        loop = asyncio.get_running_loop()
        forget_at = loop.time()
        while True:
            try:
                if loop.time() >= forget_at:
                    await self._journal.forget()
                    forget_at = loop.time() + FORGET_EVERY_S
                if await self._forward_some():
                    continue
            except Exception as error:  # whatever it was, they are told in the end
                log.warning("stand-in answers wait to be told: %r", error)
                await asyncio.sleep(RETRY_S)
                continue
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()

    async def _forward_some(self) -> int:
        """One batch; how many of it Kafka has now."""
        entries = [e for e in self._journal.waiting(BATCH_MAX) if not self._unsettled(e.key)]
        sent = [await self._decider.send(_advice(entry)) for entry in entries]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        told = [
            entry.key
            for entry, outcome in zip(entries, outcomes, strict=True)
            if not isinstance(outcome, BaseException)
        ]
        if told:
            await self._journal.known(told)
            metrics.ADVICES.inc(len(told))
        failed: Sequence[BaseException] = [o for o in outcomes if isinstance(o, BaseException)]
        if failed:
            raise DeciderUnreachable(f"{len(failed)} not taken: {failed[0]!r}")
        return len(told)


def as_bytes(request: AuthorizationRequested) -> bytes:
    """A request as the journal keeps it."""
    return orjson.dumps(asdict(request))


def _advice(entry: Entry) -> AuthorizationRequested:
    asked = orjson.loads(entry.request)
    for name in ("requested_at", "deadline_at"):
        asked[name] = datetime.fromisoformat(asked[name])
    return replace(
        advice_of(AuthorizationRequested(**asked), entry.approved_minor),
        requested_at=datetime.fromtimestamp(entry.told_at, UTC),
    )
