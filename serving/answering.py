"""From a request to its one answer: the decider's when it comes in time, else stand-in's.

The decider has until a little before the caller's deadline; what is left is stand-in's. While the
circuit is open nobody waits for the decider at all.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from schemas.codes import Reason
from schemas.events import AuthorizationDecided, AuthorizationRequested
from serving import metrics
from serving.circuit import Circuit, CircuitOpen, Inconclusive
from serving.decider import Decider, DeciderLate, DeciderUnreachable
from serving.standing_in import StandIn

# What stand-in needs of a caller's time: Postgres, Redis and a disk, once each.
MARGIN_S, MARGIN_SHARE = 0.040, 0.25
# A decider that is late for somebody with less patience than this has not failed.
PATIENCE_S = 0.2


class Answering:
    """Answers requests."""

    def __init__(self, decider: Decider, circuit: Circuit, stand_in: StandIn) -> None:
        self._decider = decider
        self._circuit = circuit
        self._stand_in = stand_in

    async def answer(
        self, request: AuthorizationRequested, patience_s: float
    ) -> AuthorizationDecided:
        """The answer within `patience_s`, the same for every repeat of the key."""
        until = asyncio.get_running_loop().time() + patience_s
        if (told := self._stand_in.told(request)) is not None:
            return told
        margin_s = min(MARGIN_S, patience_s * MARGIN_SHARE)
        decision = await self._decision(request, patience_s - margin_s)
        if decision is not None:
            decision = self._stand_in.decided(request, decision)
        if decision is None:
            decision = await self._stand_in.answer(request, until)
        return decision

    async def _decision(
        self, request: AuthorizationRequested, wait_s: float
    ) -> AuthorizationDecided | None:
        """The decider's answer; none when it is away or late. A later one never approves."""
        deadline_at = datetime.now(UTC) + timedelta(seconds=wait_s)
        try:
            with self._circuit.attempt():
                return await self._ask(replace(request, deadline_at=deadline_at), wait_s)
        except (CircuitOpen, Inconclusive):
            return None
        except DeciderLate:
            metrics.LATE.inc()
            return None
        except DeciderUnreachable:
            metrics.UNREACHABLE.inc()
            return None

    async def _ask(self, request: AuthorizationRequested, wait_s: float) -> AuthorizationDecided:
        try:
            decision = await self._decider.ask(request, wait_s)
            if decision.reason_code == Reason.DEADLINE_EXCEEDED:
                raise DeciderLate("it was decided too late")
        except (DeciderLate, DeciderUnreachable) as error:
            if wait_s < PATIENCE_S and self._decider.is_listening:
                raise Inconclusive(str(error)) from error
            raise
        return decision
