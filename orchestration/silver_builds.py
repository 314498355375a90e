"""The silver builds of one run, some at a time: one plans while another computes.

Each build also reads what has to be published and adds up the table, so that the steps after it
wait for nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.certifying import Certifying
from orchestration.settings import Settings
from pipelines.visibility import Cut
from schemas.contract import Contract

# Spark's jobs are short here; more threads than cores only wait for each other.
WORKERS = 2


@dataclass(frozen=True)
class Increment:
    """Rows that silver has and the warehouse has not; None when there are none."""

    rows: Any
    tick: int


@dataclass(frozen=True)
class Built:
    """One entity after its build: what the build did, the sums, what is to be published."""

    result: Any
    totals: dict[str, Any]
    increment: Increment


class SilverBuilds:
    """Builds of one run; every entity is built once."""

    def __init__(self, settings: Settings, spark: Any, cut: Cut, certificate: Certifying) -> None:
        from pipelines.registry import WriterSchemas

        self._settings, self._spark, self._cut = settings, spark, cut
        self._certificate = certificate
        self._writer_schemas = WriterSchemas(settings.registry)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="silver")
        self._builds: dict[str, Future[Built]] = {}
        self._known_totals = KnownTotals(settings.home / "silver_totals.json")

    def of(self, contract: Contract, together: Iterable[Contract]) -> Built:
        """The entity's build; those of `together` are started if they have not been."""
        for each in (contract, *together):
            if each.entity not in self._builds:
                self._builds[each.entity] = self._pool.submit(self._build, each)
        return self._builds[contract.entity].result()

    def has(self, contract: Contract) -> bool:
        """Whether this run builds the entity."""
        return contract.entity in self._builds

    def close(self) -> None:
        """Wait for builds that run and forget those that have not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _build(self, contract: Contract) -> Built:
        from pipelines import refresh, totals

        lake = self._settings.lake
        look = self._certificate.beside(contract)
        result = refresh.build_silver(
            self._spark, lake, contract, self._cut, self._writer_schemas, look
        )
        self._certificate.judge(contract, result, self._spark, self._writer_schemas)
        if not contract.published:
            return Built(result, {}, Increment(None, result.tick))
        # No build since: the table is the same Delta version, and so are its sums.
        tick = refresh.last_tick(self._spark, lake, contract)
        sums = self._known_totals.at(contract.entity, tick)
        if sums is None:
            sums = totals.silver_totals(self._spark, lake, contract)
            self._known_totals.keep(contract.entity, tick, sums)
        return Built(result, sums, read_increment(self._settings, self._spark, contract))


class KnownTotals:
    """What each table added up to at its last build, so that an unchanged one is not read again."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            self._known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            self._known = {}

    def at(self, entity: str, tick: int) -> dict[str, Any] | None:
        """The totals at exactly this build; None when they are not known."""
        known = self._known.get(entity)
        return known["totals"] if known and known["tick"] == tick else None

    def keep(self, entity: str, tick: int, totals: dict[str, Any]) -> None:
        """Remember the totals of a build."""
        with self._lock:
            self._known[entity] = {"tick": tick, "totals": totals}
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(self._known), encoding="utf-8")
            draft.replace(self._path)


def read_increment(settings: Settings, spark: Any, contract: Contract) -> Increment:
    """What is to be published; no Spark job when the warehouse has it all."""
    from pipelines import publish, refresh

    since = publish.watermark(settings.warehouse_dsn, contract)
    tick = refresh.last_tick(spark, settings.lake, contract)
    if tick == since:
        return Increment(None, tick)
    return Increment(publish.increment(spark, settings.lake, contract, since), tick)
