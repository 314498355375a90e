"""The health of what the gateway needs: pass, warn or fail for each part, the worst for the whole.

Without Kafka or Postgres nothing is decided, so they fail; so does a journal that cannot be
written, for then nobody stands in. Without Redis decisions are slower and without the registry
known schemas go on working, so they warn, as do an open circuit and answers that wait for Kafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from pybreaker import STATE_CLOSED
from redis.asyncio import Redis

from schemas import topics
from serving import metrics
from serving.circuit import STATES, Circuit
from serving.decider import Decider
from serving.journal import Journal
from serving.records import Records
from serving.shapes import Health, PartHealth

PASS, WARN, FAIL = "pass", "warn", "fail"
ORDER = (PASS, WARN, FAIL)
CHECK_S = 2.0
# At hundreds a second this is some seconds behind, which is beyond any caller's deadline.
LAG_WARN = 1000
# Forwarding takes a moment; later than this Kafka does not take it.
BACKLOG_WARN_S = 5.0
GROUP = topics.consumer_group("authorization")


class Checks:
    """Asks every part at once."""

    def __init__(
        self,
        *,
        servers: str,
        registry_url: str,
        http: httpx.AsyncClient,
        client: Redis,
        records: Records,
        decider: Decider,
        circuit: Circuit,
        journal: Journal,
    ) -> None:
        self._servers = servers
        self._registry_url = registry_url.rstrip("/")
        self._http = http
        self._redis = client
        self._records = records
        self._decider = decider
        self._circuit = circuit
        self._journal = journal

    async def all(self) -> Health:
        """Every part, each within two seconds."""
        checks: dict[str, tuple[str, Callable[[], Awaitable[PartHealth]]]] = {
            "kafka": (FAIL, self._kafka),
            "postgres": (FAIL, self._postgres),
            "redis": (WARN, self._ping_redis),
            "registry": (WARN, self._registry),
            "decider": (WARN, self._lag),
            "circuit": (WARN, self._circuit_state),
            "journal": (FAIL, self._backlog),
        }
        found = await asyncio.gather(*(_check(worst, ask) for worst, ask in checks.values()))
        parts = dict(zip(checks, found, strict=True))
        return Health(
            status=max((part.status for part in found), key=ORDER.index),
            parts=parts,
        )

    async def _kafka(self) -> PartHealth:
        if not self._decider.is_listening:
            return PartHealth(status=FAIL, detail="not connected; trying again")
        host, _, port = self._servers.split(",")[0].rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        return PartHealth(status=PASS)

    async def _postgres(self) -> PartHealth:
        await self._records.ping()
        return PartHealth(status=PASS)

    async def _ping_redis(self) -> PartHealth:
        await self._redis.ping()
        return PartHealth(status=PASS)

    async def _registry(self) -> PartHealth:
        answer = await self._http.get(f"{self._registry_url}/subjects")
        answer.raise_for_status()
        return PartHealth(status=PASS)

    async def _lag(self) -> PartHealth:
        """Requests that wait for the authorizer."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, request_timeout_ms=2000)
        try:
            await admin.start()
            committed = await admin.list_consumer_group_offsets(GROUP)
            ends = await self._decider.request_ends()
        finally:
            await admin.close()
        if not committed:
            return PartHealth(status=WARN, detail="no authorizer has committed anything yet")
        behind = sum(
            end - max(0, committed[part].offset) for part, end in ends.items() if part in committed
        )
        if behind >= LAG_WARN:
            return PartHealth(status=WARN, detail="requests wait", observed=behind)
        return PartHealth(status=PASS, observed=behind)

    def measure(self) -> None:
        """Set the gauges of what is looked up only when somebody asks."""
        for state in STATES:
            metrics.CIRCUIT.labels(state).set(int(self._circuit.state == state))
        count, age_s = self._journal.backlog()
        metrics.BACKLOG.set(count)
        metrics.BACKLOG_AGE_S.set(age_s)

    async def _circuit_state(self) -> PartHealth:
        state = self._circuit.state
        return PartHealth(status=PASS if state == STATE_CLOSED else WARN, detail=state)

    async def _backlog(self) -> PartHealth:
        """Stand-in answers that Kafka does not know yet."""
        if self._journal.problem is not None:
            return PartHealth(status=FAIL, detail=self._journal.problem)
        count, age_s = self._journal.backlog()
        if age_s > BACKLOG_WARN_S:
            return PartHealth(
                status=WARN, detail=f"the oldest waits since {age_s:.0f} s", observed=count
            )
        return PartHealth(status=PASS, observed=count)


async def _check(worst: str, ask: Callable[[], Awaitable[PartHealth]]) -> PartHealth:
    try:
        async with asyncio.timeout(CHECK_S):
            return await ask()
    except TimeoutError:
        return PartHealth(status=worst, detail=f"no answer within {CHECK_S:.0f} s")
    except Exception as error:  # a check never fails itself; what it met is the finding
        return PartHealth(status=worst, detail=str(error) or repr(error))
