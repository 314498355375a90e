"""The facts a decision needs, from Redis when it has them, from Postgres when it does not.

Redis is asked in pipelines, a few round trips for the whole batch. A card of which anything is
missing is read from the database, and its copies are put back. While Redis does not answer it is
left alone for a moment, so that an outage costs each batch one database read and no waiting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import redis

from schemas import features, keys
from streams import metrics
from streams.authorization.policy import (
    WINDOWS_S,
    Account,
    Card,
    CardFacts,
    Customer,
    KycRecord,
)
from streams.ledger import Ledger
from streams.store import COMPLETE, NO_POSITION, Store, Write

log = logging.getLogger(__name__)
REST_S = 1.0
POSITION = "_position"
Hash = Mapping[str, str]


class Facts:
    """Reads the facts of a batch's cards."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._redis_rests_until = 0.0
        self._repairs: set[asyncio.Task[None]] = set()

    async def read(self, card_ids: Sequence[str], now: datetime) -> dict[str, CardFacts]:
        """Facts of every card, unknown ones too; approving on them is safe, refusing is not."""
        copies = await self._copies(card_ids, now)
        missing = [card_id for card_id in card_ids if card_id not in copies]
        metrics.FACTS.labels("redis").inc(len(copies))
        return {**copies, **(await self.read_record(missing, now) if missing else {})}

    async def read_record(self, card_ids: Sequence[str], now: datetime) -> dict[str, CardFacts]:
        """The same from the system of record; a card that is not there gets empty facts."""
        rows = await self._ledger.facts(card_ids, tuple(WINDOWS_S.values()), now)
        metrics.FACTS.labels("postgres").inc(len(card_ids))
        if rows and time.monotonic() >= self._redis_rests_until:
            # Beside the decision: nobody waits for a copy.
            repair = asyncio.create_task(self._repair(rows))
            self._repairs.add(repair)
            repair.add_done_callback(self._repairs.discard)
        found = {row["card_id"]: _from_row(row) for row in rows}
        return {card_id: found.get(card_id, CardFacts()) for card_id in card_ids}

    async def _copies(self, card_ids: Sequence[str], now: datetime) -> dict[str, CardFacts]:
        if time.monotonic() < self._redis_rests_until:
            return {}
        try:
            return await self._read_copies(card_ids, now)
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._redis_fails(error)
            return {}

    async def _read_copies(self, card_ids: Sequence[str], now: datetime) -> dict[str, CardFacts]:
        cards, attempts = await asyncio.gather(
            self._by_key(keys.card_snapshot, card_ids), self._attempts(card_ids, now)
        )
        account_ids = sorted({c["account_id"] for c in cards.values() if "status" in c})
        accounts = await self._by_key(keys.account_snapshot, account_ids)
        customer_ids = sorted({a["customer_id"] for a in accounts.values() if "status" in a})
        customers, kyc = await asyncio.gather(
            self._by_key(keys.customer_snapshot, customer_ids),
            self._by_key(keys.kyc_snapshot, customer_ids),
        )
        found = {}
        for card_id in card_ids:
            card = cards[card_id]
            account = accounts.get(card.get("account_id", ""), {})
            customer_id = account.get("customer_id", "")
            customer, records = customers.get(customer_id, {}), kyc.get(customer_id, {})
            if "status" in customer and COMPLETE in records and card_id in attempts:
                found[card_id] = CardFacts(
                    _card(card),
                    _account(account),
                    Customer(customer["status"], customer["country"]),
                    _kyc(records),
                    attempts[card_id],
                    is_copy=True,
                )
        return found

    async def _by_key(self, key: Any, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        if not ids:
            return {}
        found = await self._store.hashes([key(one) for one in ids])
        return dict(zip(ids, found, strict=True))

    async def _attempts(
        self, card_ids: Sequence[str], now: datetime
    ) -> dict[str, tuple[tuple[str, int], ...]]:
        """Attempts per window of the cards whose velocity set misses nothing."""
        sets = [
            (keys.velocity(features.CARD, one), keys.velocity_meta(features.CARD, one))
            for one in card_ids
        ]
        windows_ms = [seconds * 1000 for seconds in WINDOWS_S.values()]
        counts = await self._store.counts(sets, windows_ms, int(now.timestamp() * 1000))
        return {
            one: tuple(zip(WINDOWS_S, found, strict=True))
            for one, found in zip(card_ids, counts, strict=True)
            if found is not None
        }

    async def _repair(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put copies back where there are none; one that came from the log stays."""
        try:
            await self._store.apply([write for row in rows for write in _writes(row)])
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._redis_fails(error)

    def _redis_fails(self, error: Exception) -> None:
        self._redis_rests_until = time.monotonic() + REST_S
        log.warning("Redis does not answer, facts come from Postgres: %s", error)


def _from_row(row: Mapping[str, Any]) -> CardFacts:
    return CardFacts(
        Card(row["account_id"], row["product"], row["card_status"], row["expires_on"]),
        Account(
            row["customer_id"],
            row["currency"],
            row["credit_limit_minor"],
            row["posted_minor"],
            row["held_minor"],
            row["account_status"],
        ),
        Customer(row["customer_status"], row["country"]),
        tuple(_kyc_record(record) for record in row["kyc_records"]),
        tuple(zip(WINDOWS_S, row["attempts"], strict=True)),
    )


def _card(found: Hash) -> Card:
    return Card(
        found["account_id"],
        found["product"],
        found["status"],
        date.fromisoformat(found["expires_on"]),
    )


def _account(found: Hash) -> Account:
    return Account(
        found["customer_id"],
        found["currency"],
        int(found["credit_limit_minor"]),
        int(found["posted_minor"]),
        int(found["held_minor"]),
        found["status"],
    )


def _kyc(found: Hash) -> tuple[KycRecord, ...]:
    return tuple(
        _kyc_record(json.loads(text))
        for name, text in found.items()
        if name != COMPLETE and not name.endswith(POSITION)
    )


def _kyc_record(found: Mapping[str, str | None]) -> KycRecord:
    expires_at = found.get("expires_at")
    return KycRecord(
        str(found["verification_type"]),
        str(found["status"]),
        datetime.fromisoformat(str(found["updated_at"])),
        datetime.fromisoformat(expires_at) if expires_at else None,
    )


def _writes(row: Mapping[str, Any]) -> list[Write]:
    """The row's copies, as capture would have written them."""
    snapshots = [
        _snapshot(
            keys.card_snapshot(row["card_id"]),
            account_id=row["account_id"],
            product=row["product"],
            status=row["card_status"],
            expires_on=row["expires_on"].isoformat(),
        ),
        _snapshot(
            keys.account_snapshot(row["account_id"]),
            customer_id=row["customer_id"],
            currency=row["currency"],
            credit_limit_minor=row["credit_limit_minor"],
            posted_minor=row["posted_minor"],
            held_minor=row["held_minor"],
            status=row["account_status"],
        ),
        _snapshot(
            keys.customer_snapshot(row["customer_id"]),
            status=row["customer_status"],
            country=row["country"],
        ),
    ]
    kyc_key = keys.kyc_snapshot(row["customer_id"])
    records = [
        Write(
            kyc_key,
            f"{record['kyc_record_id']}:{POSITION}",
            NO_POSITION,
            {
                record["kyc_record_id"]: json.dumps(
                    {k: v for k, v in record.items() if v is not None and k != "kyc_record_id"}
                )
            },
            (),
            keys.SNAPSHOT_TTL_S,
        )
        for record in row["kyc_records"]
    ]
    # Last, so that the mark stands only over all the records.
    mark = Write(
        kyc_key, f"{COMPLETE}:{POSITION}", NO_POSITION, {COMPLETE: "1"}, (), keys.SNAPSHOT_TTL_S
    )
    return [*snapshots, *records, mark]


def _snapshot(key: str, **fields: Any) -> Write:
    texts = {name: str(value) for name, value in fields.items()}
    return Write(key, POSITION, NO_POSITION, texts, (), keys.SNAPSHOT_TTL_S)
