"""The worker: one Faust app with its agents, made here and nowhere else.

Run it with `faust -A streams.app worker`. Delivery is at least once and every effect is safe to
repeat. Its web server answers /health and /metrics, on the loopback address unless told otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from typing import Any

import faust
import httpx
import uvloop
from aiokafka import AIOKafkaProducer
from faust.sensors.prometheus import setup_prometheus_sensors
from mode import Service

from schemas import keys
from streams import decisions, ledger, store
from streams.authorization import agent as authorization
from streams.authorization.facts import Facts
from streams.authorization.histories import Histories
from streams.authorization.ruleset_source import RuleSetSource
from streams.batch_agents import BatchAgent
from streams.batches import BatchService
from streams.cache import agent as cache
from streams.clock import Clock
from streams.codec import Codec
from streams.dead_letters import agent as dead_letters
from streams.dead_letters.letters import DeadLetters
from streams.decisions import Decisions
from streams.flows import flows
from streams.ledger import Ledger
from streams.lineage import Places, Reporter
from streams.outages import OUTAGES, Backoff, breaker
from streams.risk import agent as risk
from streams.settings import Settings
from streams.stand_in import agent as stand_in
from streams.stand_in.copies import Copies
from streams.stand_in.epoch import EpochKeeper
from streams.stand_in.records import Records
from streams.store import Store

# How long the authorizer waits for Redis before it asks Postgres instead.
FAST_REDIS_MS = 100
# Agents other than the authorizer have time: a slow Redis is not a missing one.
PATIENT_REDIS_MS = 5000
WARM_UP_S = 5
NO_CARD = str(uuid.UUID(int=0))


class Connections(Service):
    """Opens what the agents share before they start and closes it after they stopped."""

    def __init__(self, settings: Settings, **service: Any) -> None:
        super().__init__(**service)
        self.pool = ledger.pool(settings.oltp_dsn)
        self.fast_redis = store.connect(settings.redis, FAST_REDIS_MS)
        self.redis = store.connect(settings.redis, PATIENT_REDIS_MS)
        self.http = httpx.AsyncClient(timeout=3)
        self.codec = Codec(settings.registry, self.http)
        self.servers = settings.kafka
        self.producer: AIOKafkaProducer | None = None
        self.lineage = Reporter(flows(Places(settings.kafka, settings.redis, settings.oltp_dsn)))

    async def on_start(self) -> None:
        """Wait for Kafka; everything else may still be down."""
        await self.pool.open(wait=False)
        self.producer = await self._connected_producer()
        await asyncio.to_thread(self.lineage.started)

    async def on_stop(self) -> None:
        """Close everything; the lineage run is complete."""
        if self.producer is not None:
            await self.producer.stop()
        await self.pool.close()
        await self.fast_redis.aclose()
        await self.redis.aclose()
        await self.http.aclose()
        await asyncio.to_thread(self.lineage.stopped)

    async def warm_up(self) -> None:
        """Pay for the first schema and the first connections now, not in somebody's deadline."""
        try:
            async with asyncio.timeout(WARM_UP_S):
                await self.codec.prepare(decisions.TOPIC, decisions.SCHEMA)
                await Ledger(self.pool).facts([NO_CARD])
                await Ledger(self.pool).histories([NO_CARD])
                await Store(self.fast_redis).read([keys.card_snapshot(NO_CARD)], [])
        except OUTAGES as error:
            self.log.warning("starting cold: %s", error)

    @property
    def started_producer(self) -> AIOKafkaProducer:
        """The producer; there is one from the start on."""
        if self.producer is None:
            raise RuntimeError("connections are started first")
        return self.producer

    async def _connected_producer(self) -> AIOKafkaProducer:
        backoff = Backoff()
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.servers,
                acks="all",
                linger_ms=0,
                compression_type="lz4",
                request_timeout_ms=10_000,
            )
            try:
                await producer.start()
            except OUTAGES as error:
                await producer.stop()
                self.log.warning("waiting for Kafka: %s", error)
                await asyncio.sleep(backoff.next_s())
            else:
                return producer


class Agents(Service):
    """The batch agents and what runs beside them: started after the connections."""

    def __init__(self, settings: Settings, connections: Connections, **service: Any) -> None:
        super().__init__(**service)
        self.settings = settings
        self.connections = connections
        self.running: tuple[BatchService, ...] = ()

    async def on_start(self) -> None:
        """Open the connections, then let every agent read."""
        here = self.connections
        await self.add_runtime_dependency(here)
        await here.warm_up()
        patient, fast, record = Store(here.redis), Store(here.fast_redis), Ledger(here.pool)
        redis_breaker = breaker("redis")
        histories = Histories(fast, redis_breaker, loop=self.loop, beacon=self.beacon)
        rules = RuleSetSource(here.pool, loop=self.loop, beacon=self.beacon)
        copies, records = Copies(here.redis), Records(here.pool)
        for beside in (
            histories,
            rules,
            Clock(self.settings.oltp_dsn, loop=self.loop, beacon=self.beacon),
            EpochKeeper(copies, records, loop=self.loop, beacon=self.beacon),
        ):
            await self.add_runtime_dependency(beside)
        decider = authorization.Means(
            Facts(fast, record, histories, redis_breaker),
            record,
            Decisions(here.started_producer, here.codec),
            rules,
        )
        self.running = (
            self._service(authorization.authorize, decider),
            self._service(risk.score_risk, risk.Means(patient, record)),
            self._service(cache.refresh, cache.Means(patient)),
            self._service(stand_in.follow, stand_in.Means(copies, records)),
        )
        # What is there now stays: no collection has to look at it again.
        gc.collect()
        gc.freeze()
        for service in self.running:
            await self.add_runtime_dependency(service)

    def _service(self, agent: BatchAgent, means: Any) -> BatchService:
        return BatchService(
            agent,
            means,
            servers=self.settings.kafka,
            codec=self.connections.codec,
            letters=DeadLetters(self.connections.started_producer),
            loop=self.loop,
            beacon=self.beacon,
        )


def create_app(settings: Settings) -> faust.App:
    """The app with all its agents; nothing is connected until it is started."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Before anybody asks for a loop: uvloop takes a fifth of the time off every message.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    app = faust.App(
        "millrace.dead-letters",
        broker=f"kafka://{settings.kafka.replace(',', ';kafka://')}",
        store="memory://",
        datadir=settings.home / "faust",
        value_serializer="raw",
        key_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_bind="127.0.0.1",
        web_tables_enabled=False,
        broker_commit_interval=0.5,
        broker_session_timeout=10,
        broker_heartbeat_interval=2,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=1024,
        table_standby_replicas=0,
    )
    setup_prometheus_sensors(app, "/metrics", name_prefix="millrace_faust")
    connections = Connections(settings, loop=app.loop, beacon=app.beacon)
    agents = Agents(settings, connections, loop=app.loop, beacon=app.beacon)
    app.service(agents)  # type: ignore[arg-type]
    dead_letters.register(app, connections.pool)

    @app.page("/health")
    async def health(self: Any, request: Any) -> Any:
        """Each agent: ready once Kafka has given it partitions, waiting with its reason, lag."""
        found = {
            service.agent.name: {
                "ready": service.is_ready,
                "waits_for": service.waits_for,
                "lag": service.lag(),
            }
            for service in agents.running
        }
        is_ready = bool(found) and all(one["ready"] for one in found.values())
        status = "pass" if is_ready and not any(o["waits_for"] for o in found.values()) else "warn"
        body = {"status": status if is_ready else "fail", "agents": found}
        return self.json(body, status=200 if is_ready else 503)

    return app


def __getattr__(name: str) -> Any:
    """`streams.app:app` is made when a worker asks for it, never by an import."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = create_app(Settings())  # type: ignore[call-arg]
    return globals()["app"]
