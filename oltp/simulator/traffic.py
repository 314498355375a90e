"""Live traffic: requests at a fixed rate whether or not answers come, and changes beside them."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg

from oltp.simulator import keys
from oltp.simulator.changes import Changes
from oltp.simulator.requests import Card, Request, Source
from oltp.simulator.sending import Answer, Gateway, RequestTopic, timed

Progress = Callable[[int, int], None]


@dataclass
class Answers:
    """What one way of asking gave. Latency counts from the moment that was scheduled."""

    via: str
    asked: int = 0
    # Decisions, and beside them `HTTP 409` and the like for what was no decision.
    outcomes: Counter[str] = field(default_factory=Counter)
    declined_by_reason: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    latency_ms: list[float] = field(default_factory=list)

    @property
    def approved(self) -> int:
        """Requests that were approved, repeats included."""
        return self.outcomes["APPROVED"]

    def count(self, answer: Answer | None, latency_ms: float) -> None:
        """Take one answer in."""
        if answer is None:
            self.unanswered += 1
            return
        self.latency_ms.append(latency_ms)
        self.outcomes[answer.outcome] += 1
        if answer.outcome == "DECLINED":
            self.declined_by_reason[answer.reason] += 1

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` of the answers kept; NaN without answers."""
        ordered = sorted(self.latency_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


@dataclass
class Summary:
    """What a run of traffic did."""

    http: Answers
    topic: Answers
    # Changes made in the database, by kind.
    changes: Counter[str]
    seconds: float
    # Requests that repeat an earlier key.
    repeats: int = 0

    @property
    def asked(self) -> int:
        """All requests."""
        return self.http.asked + self.topic.asked


def traffic(
    *,
    dsn: str,
    gateway: str,
    kafka: str = "",
    registry: str = "",
    rate: float = 20.0,
    seconds: float = 10.0,
    seed: int = 7,
    topic_share: float = 0.3,
    changes_per_s: float = 2.0,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Send `rate` requests a second for `seconds`, a share of them by topic; seed the lender first.

    Without `kafka` all go to the gateway. Keys carry the run, so each run is decided anew.
    """
    return asyncio.run(
        _Run(dsn, Source(_cards(dsn), seed, run=f"sim-{uuid4().hex[:10]}"), seed, changes_per_s).go(
            gateway, (kafka, registry, topic_share if kafka else 0.0), (rate, seconds), progress
        )
    )


class _Run:
    def __init__(self, dsn: str, source: Source, seed: int, changes_per_s: float) -> None:
        self._source = source
        self._chance = random.Random(f"{seed}/ways")
        self._changes = Changes(dsn, seed, changes_per_s, keys.found(dsn))
        self._http, self._topic = Answers("HTTP"), Answers("Kafka")
        self._pending: set[asyncio.Task[None]] = set()

    async def go(
        self,
        gateway: str,
        by_topic: tuple[str, str, float],
        pace: tuple[float, float],
        progress: Progress,
    ) -> Summary:
        kafka, registry, share = by_topic
        rate, seconds = pace
        total, repeats = round(rate * seconds), 0
        http = Gateway(gateway)
        topic = await asyncio.to_thread(RequestTopic, kafka, registry) if share else None
        start = time.perf_counter()
        try:
            with self._changes:
                for number in range(total):
                    scheduled = start + number / rate
                    await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
                    request = self._source.next()
                    repeats += request.is_repeat
                    if topic and self._chance.random() < share:
                        self._begin(self._ask(topic.ask, self._topic, request, scheduled))
                    else:
                        self._begin(self._ask(http.ask, self._http, request, scheduled))
                    progress(number + 1, total)
                if self._pending:
                    await asyncio.wait(self._pending)
        finally:
            await http.close()
            if topic:
                await topic.close()
        elapsed = time.perf_counter() - start
        return Summary(self._http, self._topic, self._changes.made, elapsed, repeats)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _ask(
        self, ask: Callable[[Request], Any], answers: Answers, request: Request, scheduled: float
    ) -> None:
        answers.asked += 1
        answers.count(*await timed(ask, request, scheduled))


def _cards(dsn: str) -> list[Card]:
    """Cards that may be used, and a few of the many that were given back, lost or stolen."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select c.card_id::text, a.currency, u.country from card.cards c"
            " join card.card_accounts a using (account_id)"
            " join customer.customers u using (customer_id)"
            " where c.external_ref like 'sim:%' and ('ACTIVE' = all (array[c.status, a.status,"
            " u.status]) or get_byte(uuid_send(c.card_id), 0) < 16) order by c.card_id"
        ).fetchall()
    if not rows:
        raise LookupError("there are no simulated cards: seed first")
    return [Card(*row) for row in rows]
