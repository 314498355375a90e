"""Sees that stand-in copies are those of the running Redis, and rebuilds them when they are not.

A restart, an old dump or FLUSHALL leaves Redis with copies that may be wrong in any way. Its run id
is then not the one the copies were made for (or nothing is there at all), so none of them approves
anything until all were read again from Postgres under a new epoch.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from mode import Service
from prometheus_client import Gauge

from streams.outages import OUTAGES, Backoff
from streams.stand_in import policy
from streams.stand_in.copies import Copies, Superseded
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM, Part
from streams.stand_in.records import Records, Row

log = logging.getLogger(__name__)
COMPLETE = Gauge("millrace_stand_in_copies_complete", "1 while stand-in copies may approve.")
LOOK_EVERY_S = 1.0
# A rebuild leaves the loop to decisions between its pages.
PAUSE_S = 0.01


class EpochKeeper(Service):
    """Looks each second; several workers may, one of them rebuilds."""

    def __init__(self, copies: Copies, records: Records, **service: Any) -> None:
        super().__init__(**service)
        self._copies = copies
        self._records = records
        self._name = str(uuid.uuid4())

    @Service.task
    async def _keep(self) -> None:
        backoff = Backoff()
        while not self.should_stop:
            delay_s = LOOK_EVERY_S
            try:
                await self.look()
                backoff.reset()
            except Superseded as error:
                log.info("stand-in copies: %s", error)
            except OUTAGES as error:
                COMPLETE.set(0)
                delay_s = max(delay_s, backoff.next_s())
                log.warning("stand-in copies cannot be seen to: %s", error)
            await self.sleep(delay_s)

    async def look(self) -> None:
        """Rebuild unless the copies are complete or somebody else is at it."""
        is_complete = await self._copies.is_complete()
        COMPLETE.set(int(is_complete))
        if is_complete or not await self._copies.is_builder(self._name):
            return
        epoch = policy.epoch_text(await self._records.next_epoch())
        run_id = await self._copies.begin(epoch)
        written = 0
        for entity in (PROGRAM, CUSTOMER, ACCOUNT, CARD):
            async for rows in self._records.pages(entity):
                if not await self._copies.is_builder(self._name):
                    raise Superseded("another worker rebuilds them")
                written += await self._copies.rebuild(_parts(entity, rows), epoch)
                await asyncio.sleep(PAUSE_S)
        await self._copies.complete(epoch, run_id)
        COMPLETE.set(1)
        log.info("stand-in copies rebuilt: epoch %d, %d parts", int(epoch), written)


def _parts(entity: str, rows: list[Row]) -> list[Part]:
    found = [policy.part(entity, row) for row in rows]
    if entity == CUSTOMER:
        found += [policy.screening(str(row["customer_id"]), row["is_sanctioned"]) for row in rows]
    return found
