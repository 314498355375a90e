"""The gateway: its routes and everything they use, made here and nowhere else.

Run it with `uvicorn serving.app:app`. It starts whatever is up or down, and connects by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from serving import authorizations, operations, problems, records, vectors
from serving.decider import Decider
from serving.features import FeatureReader
from serving.health import Checks
from serving.records import Records
from serving.settings import Settings
from serving.wire import Wire

REDIS_TIMEOUT_S = 0.5


def create_app(settings: Settings) -> FastAPI:
    """The application; nothing is connected until it starts."""
    http = httpx.AsyncClient(timeout=2)
    pool = records.pool(settings.oltp_dsn)
    client = Redis.from_url(
        settings.redis,
        decode_responses=True,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )
    decider = Decider(settings.kafka, Wire(settings.registry, http))
    stored = Records(pool)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=False)
        decider.start()
        yield
        await decider.stop()
        await client.aclose()
        await http.aclose()
        await pool.close()

    # Its API page comes from here: the usual one fetches its script from the internet.
    app = FastAPIOffline(
        title="Millrace gateway",
        summary="Card authorizations in milliseconds, and the features behind them.",
        version="1",
        lifespan=lifespan,
    )
    problems.install(app)
    app.include_router(authorizations.router(decider, stored))
    app.include_router(vectors.router(FeatureReader(client, stored)))
    checks = Checks(
        servers=settings.kafka,
        registry_url=settings.registry,
        http=http,
        client=client,
        records=stored,
        decider=decider,
    )
    app.include_router(operations.router(checks))
    return app


def __getattr__(name: str) -> Any:
    """`serving.app:app` is made when a server asks for it, never by an import."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = create_app(Settings())  # type: ignore[call-arg]
    return globals()["app"]
