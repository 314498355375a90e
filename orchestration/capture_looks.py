"""Looks at capture: the slot with what Connect has stored, and how far every table is behind."""

from __future__ import annotations

from connectors import offsets
from orchestration import news
from orchestration.settings import Settings
from pipelines.capture import guarding, remembering
from schemas import contract, topics

BROKER_TIMEOUT_S = 5.0


def look(settings: Settings) -> guarding.Look:
    """One look at the slot, and how far Connect says that it got; both are remembered."""
    return guarding.look(
        settings.oltp_admin_dsn,
        settings.warehouse_dsn,
        stored=lambda: offsets.stored_lsn(settings.connect),
    )


def require(settings: Settings) -> None:
    """Nothing is built on a capture that lost changes: raises guarding.CaptureBroken."""
    guarding.require(look(settings))


def table_lags(settings: Settings, found: guarding.Look) -> list[remembering.TableLag]:
    """Every captured table's lag, remembered as well."""
    complete = remembering.completeness(settings.warehouse_dsn)
    ends = news.end_offsets(settings.kafka, topics.captured(), BROKER_TIMEOUT_S)
    waiting = {
        c.entity: news.newer(
            {place: end for place, end in ends.items() if place.rpartition(":")[0] == c.topic},
            complete[c.entity].offsets if c.entity in complete else {},
        ).get(c.topic, 0)
        for c in contract.load_all()
    }
    lags = remembering.table_lag(found.facts, found.verdict.behind_s, waiting, complete)
    remembering.remember_tables(settings.warehouse_dsn, found.facts, lags)
    return lags
