"""The histories that the worker has in mind: of the cards it decides on, and only so many.

What changes is told to Redis a moment later, many changes of a card as one, so that a successor
need not read it from Postgres. Nobody depends on it: a history carries the number of decisions it
tells of, and Postgres refuses to decide on an old one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any

from mode import Service
from pybreaker import CircuitBreaker, CircuitBreakerError
from redis import RedisError

from schemas import keys
from streams.authorization.history import CardHistory
from streams.store import Store

log = logging.getLogger(__name__)
# A card that does little takes about two kilobytes, a busy one more: attempts are bounded, too.
MOST_CARDS, MOST_ATTEMPTS = 20_000, 2_000_000
TELL_EVERY_S = 0.5
TOLD_AT_ONCE = 50


class Histories(Service):
    """Histories by card; the least recently used go first."""

    def __init__(self, store: Store, breaker: CircuitBreaker, **service: Any) -> None:
        super().__init__(**service)
        self._store = store
        self._breaker = breaker
        self._kept: OrderedDict[str, CardHistory] = OrderedDict()
        self._attempts = 0
        self._untold: dict[str, CardHistory] = {}

    def get(self, card_id: str) -> CardHistory | None:
        """The card's history, if we have it in mind."""
        history = self._kept.get(card_id)
        if history is not None:
            self._kept.move_to_end(card_id)
        return history

    def learn(self, card_id: str, history: CardHistory) -> None:
        """Keep what was read."""
        self._drop(card_id)
        self._kept[card_id] = history
        self._attempts += history.attempts
        while len(self._kept) > MOST_CARDS or self._attempts > MOST_ATTEMPTS:
            self._drop(next(iter(self._kept)))

    def extend(self, card_id: str, history: CardHistory) -> None:
        """Keep what has become of it, and tell Redis."""
        self.learn(card_id, history)
        self._untold[card_id] = history

    def forget(self, card_id: str) -> None:
        """Have the card's next decision look it up; what we supposed is told to nobody."""
        self._drop(card_id)
        self._untold.pop(card_id, None)

    def _drop(self, card_id: str) -> None:
        gone = self._kept.pop(card_id, None)
        if gone is not None:
            self._attempts -= gone.attempts

    async def on_stop(self) -> None:
        """Leave it to the successor."""
        await self._tell()

    @Service.task
    async def _keep_telling(self) -> None:
        while not self.should_stop:
            await self.sleep(TELL_EVERY_S)
            await self._tell()

    async def _tell(self) -> None:
        untold, self._untold = list(self._untold.items()), {}
        for start in range(0, len(untold), TOLD_AT_ONCE):
            texts = {
                keys.card_history(card_id): history.dumps().decode()
                for card_id, history in untold[start : start + TOLD_AT_ONCE]
            }
            try:
                with self._breaker.calling():
                    await self._store.put(texts, keys.HISTORY_TTL_S)
            except (RedisError, OSError, TimeoutError, CircuitBreakerError) as error:
                log.debug("histories not told to Redis yet: %s", error)
                self._untold = dict(untold[start : start + MOST_CARDS]) | self._untold
                return
            # Decisions that wait come first.
            await asyncio.sleep(0)
