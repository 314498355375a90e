"""The facts a decision needs: from Redis when it has them, from Postgres when it does not.

Redis is asked once for the whole batch; for a card that this worker has not seen yet it is asked
first whose it is. A card of which anything is missing is read from the database, and its copies are
put back. Redis that fails again and again is left alone behind a breaker. What a copy leads to is
checked where it matters: an approval under the database's lock, a refusal by reading the database,
a history by its number.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis
from pybreaker import CircuitBreaker, CircuitBreakerError

from schemas import keys
from streams import metrics
from streams.authorization import copies
from streams.authorization.histories import Histories
from streams.authorization.history import Attempt, CardHistory
from streams.authorization.policy import CardFacts
from streams.ledger import Ledger, Rows
from streams.store import Store

log = logging.getLogger(__name__)
# Who a card belongs to never changes, so it is asked once; about 400 bytes each.
MOST_OWNERS = 100_000
# While Redis is slow, further copies wait for their next chance.
MOST_REPAIRS = 8
NO_REDIS = (redis.RedisError, OSError, TimeoutError, CircuitBreakerError)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account a card draws on."""

    account_id: str
    customer_id: str


class Facts:
    """Reads the facts of a batch's cards."""

    def __init__(
        self, store: Store, ledger: Ledger, histories: Histories, breaker: CircuitBreaker
    ) -> None:
        self.histories = histories
        self._store = store
        self._ledger = ledger
        self._breaker = breaker
        self._owners: OrderedDict[str, Owner] = OrderedDict()
        self._repairs: set[asyncio.Task[None]] = set()

    async def read(
        self, card_ids: Collection[str], not_copied: Collection[str] = ()
    ) -> dict[str, CardFacts]:
        """Facts of every card, unknown ones too; approving on them is safe, refusing is not.

        Of accounts in the programs `not_copied` more is needed than Redis has.
        """
        found = {one: history for one in card_ids if (history := self.histories.get(one))}
        metrics.HISTORIES.labels("memory").inc(len(found))
        copied = await self._copies(card_ids, found)
        known = {
            card_id: facts
            for card_id, facts in copied.items()
            if facts.account is not None and facts.account.program_id not in not_copied
        }
        metrics.FACTS.labels("redis").inc(len(known))
        missing = [c for c in card_ids if c not in known]
        read, remembered = await asyncio.gather(
            self.read_record(missing), self._remember([c for c in card_ids if c not in found])
        )
        for card_id in {*read, *remembered}:
            history = remembered[card_id] if card_id in remembered else found[card_id]
            known[card_id] = replace(read.get(card_id) or known[card_id], history=history)
        return known

    async def read_again(self, card_ids: Collection[str]) -> dict[str, CardFacts]:
        """All of it from the system of record, for whom the copies were too old."""
        known, histories = await asyncio.gather(
            self.read_record(card_ids), self._remember(card_ids)
        )
        return {one: replace(known[one], history=histories[one]) for one in card_ids}

    async def read_record(self, card_ids: Collection[str]) -> dict[str, CardFacts]:
        """Facts without a history from the system of record; a card that is not there has none."""
        if not card_ids:
            return {}
        rows = await self._ledger.facts(list(card_ids))
        metrics.FACTS.labels("postgres").inc(len(card_ids))
        for row in rows:
            self._own(row["card_id"], Owner(row["account_id"], row["customer_id"]))
        self._repair_later(rows)
        found = {row["card_id"]: copies.from_row(row) for row in rows}
        return {card_id: found.get(card_id, CardFacts()) for card_id in card_ids}

    async def _remember(self, card_ids: Collection[str]) -> dict[str, CardHistory]:
        """Histories from the system of record; a card without decisions has an empty one."""
        if not card_ids:
            return {}
        rows = await self._ledger.histories(list(card_ids))
        metrics.HISTORIES.labels("postgres").inc(len(card_ids))
        found = {card_id: CardHistory.empty() for card_id in card_ids} | histories_of(rows)
        for card_id, history in found.items():
            self.histories.learn(card_id, history)
        return found

    async def _copies(
        self, card_ids: Collection[str], histories: dict[str, CardHistory]
    ) -> dict[str, CardFacts]:
        """What Redis has of all of it, the histories that are not among those in mind too."""
        unremembered = [one for one in card_ids if one not in histories]
        try:
            with self._breaker.calling():
                await self._learn_owners([c for c in card_ids if c not in self._owners])
                owned = [(one, self._owner(one)) for one in card_ids if one in self._owners]
                snapshots = [key for one, owner in owned for key in _snapshots(one, owner)]
                hashes, texts = await self._store.read(
                    snapshots, [keys.card_history(one) for one in unremembered]
                )
        except NO_REDIS as error:
            if not isinstance(error, CircuitBreakerError):
                log.warning("Redis does not answer, facts come from Postgres: %r", error)
            return {}
        for one, text in zip(unremembered, texts, strict=True):
            if text is not None and (history := copies.history(text)):
                self.histories.learn(one, history)
                histories[one] = history
                metrics.HISTORIES.labels("redis").inc()
        found = {}
        for number, (one, _) in enumerate(owned):
            card, account, customer, kyc = hashes[4 * number : 4 * number + 4]
            facts = copies.from_hashes(card, account, customer, kyc, histories.get(one))
            if facts is not None:
                found[one] = facts
        return found

    async def _learn_owners(self, card_ids: Sequence[str]) -> None:
        if not card_ids:
            return
        cards, _ = await self._store.read([keys.card_snapshot(one) for one in card_ids], [])
        of = {
            one: card["account_id"]
            for one, card in zip(card_ids, cards, strict=True)
            if "account_id" in card
        }
        accounts, _ = await self._store.read([keys.account_snapshot(a) for a in of.values()], [])
        for (card_id, account_id), account in zip(of.items(), accounts, strict=True):
            if "customer_id" in account:
                self._own(card_id, Owner(account_id, account["customer_id"]))

    def _own(self, card_id: str, owner: Owner) -> None:
        self._owners[card_id] = owner
        if len(self._owners) > MOST_OWNERS:
            self._owners.popitem(last=False)

    def _owner(self, card_id: str) -> Owner:
        self._owners.move_to_end(card_id)
        return self._owners[card_id]

    def _repair_later(self, rows: Rows) -> None:
        """Beside the decision: nobody waits for a copy."""
        if rows and len(self._repairs) < MOST_REPAIRS:
            repair = asyncio.create_task(self._repair(rows))
            self._repairs.add(repair)
            repair.add_done_callback(self._repairs.discard)

    async def _repair(self, rows: Rows) -> None:
        """Put copies back where there are none; one that came from the log stays."""
        try:
            with self._breaker.calling():
                await self._store.apply([write for row in rows for write in copies.writes(row)])
        except NO_REDIS as error:
            log.debug("copies are not put back: %r", error)


def histories_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, CardHistory]:
    """The histories that rows of decisions tell of, each card's in order."""
    cards: dict[str, tuple[Mapping[str, Any], list[Attempt]]] = {}
    for row in rows:
        _, attempts = cards.setdefault(row["card_id"], (row, []))
        if row["decision"] is not None:
            attempts.append(Attempt.from_row(row))
    return {
        card_id: CardHistory.of(state["version"], attempts)
        if attempts
        else CardHistory.empty(state["version"], copies.milliseconds(state["last_decided_at"]))
        for card_id, (state, attempts) in cards.items()
    }


def _snapshots(card_id: str, owner: Owner) -> tuple[str, str, str, str]:
    return (
        keys.card_snapshot(card_id),
        keys.account_snapshot(owner.account_id),
        keys.customer_snapshot(owner.customer_id),
        keys.kyc_snapshot(owner.customer_id),
    )
