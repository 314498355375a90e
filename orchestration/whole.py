"""The certificate of everything, on request: a cut, silver brought to it, every hop's whole state.

Runs under the lease of a tick, in the process that asks. A table that agrees has its next window
begin here, and what was open about it is settled. Each verdict is kept when it is found: who stops
the run half way keeps what was proven until then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestration import control
from orchestration.assets import CAPTURE_TIMEOUT_S
from orchestration.settings import Settings
from pipelines import checkpoint
from pipelines.certificate import drilling, ledger, source_state
from pipelines.certificate.comparing import Verdict
from pipelines.certificate.drilling import Break
from pipelines.certificate.ledger import Place, Reach
from pipelines.certificate.sums import Sum
from schemas import contract as contracts
from schemas.contract import Contract

# One plans while another computes.
WORKERS = 2
# The verdict that was just kept, and how many tables there are.
Progress = Callable[[Verdict, int], None]


@dataclass(frozen=True)
class Whole:
    """What was compared, and at which cut."""

    cut_id: int
    taken_at: datetime
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def breaks(self) -> list[Break]:
        """Everything that differs."""
        return [one for verdict in self.verdicts for one in verdict.breaks]


def certify(
    settings: Settings,
    spark: Any,
    schemas: Callable[[int], str | None],
    chosen: Iterable[Contract] = (),
    progress: Progress = lambda verdict, tables: None,
) -> Whole:
    """Compare whole tables (all of them when none is chosen) at a cut taken now.

    An interrupt, or the first table that cannot be compared, ends it: verdicts so far are kept.
    """
    from pipelines import bronze, cut
    from pipelines.certificate import arrived, whole

    began = time.monotonic()
    tables = tuple(chosen) or contracts.load_all()
    # The snapshot is kept: a table that differs is read again in it.
    with source_state.reading(settings.oltp_admin_dsn) as state:
        cut_id = control.record_cut(settings.warehouse_dsn, state.cut)
        cut.wait_for_capture(settings.oltp_admin_dsn, state.cut, CAPTURE_TIMEOUT_S)
        newest = bronze.ingest(spark, settings.lake, settings.kafka).last_batch_id
        at = whole.Place(spark, settings.lake, state.cut, schemas, settings.warehouse_dsn)
        there = arrived.look(spark, settings.lake, tables)
        known = ledger.reaches(settings.warehouse_dsn)
        one = _OneTable(settings, at, cut_id, newest, _Asked(state), there, known)
        found = _each(spark, one, tables, progress)
    seconds = time.monotonic() - began
    if len(found) == len(contracts.load_all()):
        rows = sum(v.hops["source"].changes for v in found if "source" in v.hops)
        ledger.close(settings.warehouse_dsn, cut_id, ledger.STATE, None, rows, seconds)
    return Whole(cut_id, state.cut.taken_at, tuple(found), seconds)


def _each(
    spark: Any, one: _OneTable, tables: tuple[Contract, ...], progress: Progress
) -> list[Verdict]:
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="certify")
    found: dict[str, Verdict] = {}
    try:
        for done in as_completed([pool.submit(one.certify, table) for table in tables]):
            verdict = done.result()
            found[verdict.entity] = verdict
            progress(verdict, len(tables))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # What runs now would only be waited for.
        spark.sparkContext.cancelAllJobs()
        raise
    finally:
        pool.shutdown(wait=True)
    return [found[table.entity] for table in tables]


class _Asked:
    """The source in its snapshot, which answers one question at a time."""

    def __init__(self, state: source_state.SourceState) -> None:
        self._state, self._lock = state, threading.Lock()

    def sums(self, contract: Contract) -> dict[int, Sum]:
        with self._lock:
            return self._state.sums(contract)

    def digests(self, contract: Contract, bucket: int) -> list[tuple[str, int]]:
        with self._lock:
            return list(self._state.digests(contract, bucket))


@dataclass(frozen=True)
class _OneTable:
    """Brings a table to the cut, compares it, and keeps the verdict."""

    settings: Settings
    at: Any
    cut_id: int
    newest: int
    source: _Asked
    arrived: Mapping[str, Any]
    known: Mapping[str, Reach]

    def certify(self, contract: Contract) -> Verdict:
        from pipelines import publish, refresh
        from pipelines.certificate import whole
        from pipelines.certificate.arrived import Arrived

        at, dsn = self.at, self.settings.warehouse_dsn
        arrived = self.arrived.get(contract.entity, Arrived())
        built = refresh.SilverResult(contract.entity)
        if arrived.rows or whole.has_silver(at, contract):
            built = refresh.build_silver(at.spark, at.folder, contract, at.cut, at.schemas)
        verdict = whole.certify(
            at,
            contract,
            self.source.sums(contract),
            lambda bucket: self.source.digests(contract, bucket),
            arrived,
        )
        ledger.record(dsn, self.cut_id, ledger.STATE, {}, [verdict])
        if verdict.holds:
            is_given = not contract.published or publish.watermark(dsn, contract) >= built.tick
            place = _place(built, self.known.get(contract.entity), self.newest, is_given)
            name = checkpoint.source(self.settings.lake)
            ledger.certify(dsn, self.cut_id, name, {contract.entity: place})
        return verdict


def _place(built: Any, known: Reach | None, newest: int, is_given: bool) -> Place:
    """What the warehouse has not been given yet, a tick publishes, and compares it there."""
    shown = known.shown_after_batch if known else drilling.NOTHING
    after = built.last_batch_id
    return Place(after, after if is_given else shown, newest)
