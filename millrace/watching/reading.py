"""Reads what the parts say of themselves at one moment: metrics, agents' health, open holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

# A view that refreshes each second does not wait longer for a part that hangs.
PATIENCE_S = 2.0
OPEN_HOLDS = """
    select currency::text, count(*), coalesce(sum(amount_minor), 0)::bigint
    from card.holds where status in ('PENDING', 'PARTIALLY_CAPTURED') group by 1 order by 1
"""

Labels = tuple[tuple[str, str], ...]
# Sample name -> its value under each set of labels.
Samples = Mapping[str, Mapping[Labels, float]]


@dataclass(frozen=True)
class Agent:
    """One agent of the worker: how far it is behind, and what it waits for."""

    lag: int
    waits_for: str | None


@dataclass(frozen=True)
class Reading:
    """One moment. What did not answer is named in `silent` and has nothing here."""

    at_s: float
    samples: Samples = field(default_factory=dict)
    agents: Mapping[str, Agent] = field(default_factory=dict)
    # Currency -> (count, amount).
    holds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


class Reader:
    """Reads again and again over kept connections; a part that is down is said, never raised."""

    def __init__(self, gateway: str, worker: str, dsn: str) -> None:
        self._gateway = gateway.rstrip("/")
        self._worker = worker.rstrip("/")
        self._dsn = dsn
        self._http = httpx.Client(timeout=PATIENCE_S)
        self._database: psycopg.Connection | None = None
        # A part that does not answer has not counted on, as far as anybody knows.
        self._known: dict[str, Mapping[Labels, float]] = {}

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()
        if self._database is not None:
            self._database.close()

    def read(self) -> Reading:
        """Everything, now."""
        silent: dict[str, str] = {}
        for part, url in (("gateway", self._gateway), ("worker", self._worker)):
            try:
                self._known.update(parse(self._http.get(f"{url}/metrics").raise_for_status().text))
            except (httpx.HTTPError, ValueError) as error:
                silent[part] = _said(error)
        agents: Mapping[str, Agent] = {}
        if "worker" not in silent:
            try:
                # 503 until Kafka has given every agent its partitions; the body says the rest.
                agents = _agents(self._http.get(f"{self._worker}/health").json())
            except (httpx.HTTPError, ValueError) as error:
                silent["worker"] = _said(error)
        try:
            holds = self._holds()
        except psycopg.Error as error:
            silent["postgres"] = _said(error)
            holds = {}
        return Reading(time.monotonic(), dict(self._known), agents, holds, silent)

    def _holds(self) -> dict[str, tuple[int, int]]:
        if self._database is None or self._database.closed:
            self._database = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=int(PATIENCE_S),
                options=f"-c statement_timeout={PATIENCE_S * 1000:.0f}",
                application_name="millrace-watch",
            )
        rows = self._database.execute(OPEN_HOLDS).fetchall()
        return {currency: (count, amount) for currency, count, amount in rows}


def parse(text: str) -> dict[str, Mapping[Labels, float]]:
    """The samples of one page in Prometheus's text format."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return dict(found)


def _agents(health: Any) -> dict[str, Agent]:
    return {
        name: Agent(int(one["lag"]), one["waits_for"]) for name, one in health["agents"].items()
    }


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
