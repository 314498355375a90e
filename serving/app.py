"""The gateway: its routes and everything they use, made here and nowhere else.

Run it with `uvicorn serving.app:app`. It starts whatever is up or down, and connects by itself.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from serving import (
    authorizations,
    card_messages,
    operations,
    problems,
    records,
    redis_client,
    vectors,
)
from serving.advice import Advisor
from serving.allowance import Allowance
from serving.answering import Answering
from serving.circuit import OPEN_S, Circuit
from serving.decider import Decider
from serving.features import FeatureReader
from serving.health import Checks
from serving.journal import Journal
from serving.records import Records
from serving.settings import Settings
from serving.standing_in import StandIn
from serving.wire import Wire

JOURNAL_FOLDER = "gateway"


def create_app(settings: Settings, circuit_open_s: float = OPEN_S) -> FastAPI:
    """The application; nothing is connected until it starts."""
    http = httpx.AsyncClient(timeout=2)
    pool = records.pool(settings.oltp_dsn)
    client = redis_client.connect(settings.redis)
    decider = Decider(settings.kafka, Wire(settings.registry, http))
    stored = Records(pool)
    journal = Journal(settings.home / JOURNAL_FOLDER)
    advisor = Advisor(journal, decider)
    stand_in = StandIn(journal, Allowance(client), stored, advisor)
    circuit = Circuit(circuit_open_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await pool.open(wait=False)
        journal.start()
        decider.start()
        advisor.start(stand_in.is_unsettled)
        # What was made by now stays: to look through all of it costs somebody tens of milliseconds.
        gc.collect()
        gc.freeze()
        yield
        await stand_in.stop()
        await advisor.stop()
        await decider.stop()
        await journal.stop()
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
    app.include_router(authorizations.router(Answering(decider, circuit, stand_in), stored))
    app.include_router(card_messages.router(stored))
    app.include_router(vectors.router(FeatureReader(client, stored)))
    checks = Checks(
        servers=settings.kafka,
        registry_url=settings.registry,
        http=http,
        client=client,
        records=stored,
        decider=decider,
        circuit=circuit,
        journal=journal,
    )
    app.include_router(operations.router(checks))
    return app


def __getattr__(name: str) -> Any:
    """`serving.app:app` is made when a server asks for it, never by an import."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = create_app(Settings())  # type: ignore[call-arg]
    return globals()["app"]
