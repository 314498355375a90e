"""The certificate of everything, on request: a cut, silver brought to it, every hop's whole state.

Runs under the lease of a tick, in the process that asks. A table that agrees has its next window
begin here, and what was open about it is settled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestration import control
from orchestration.assets import CAPTURE_TIMEOUT_S
from orchestration.settings import Settings
from pipelines import checkpoint
from pipelines.certificate import drilling, ledger, source_state
from pipelines.certificate.comparing import Verdict
from pipelines.certificate.drilling import Break
from pipelines.certificate.ledger import Place, Reach
from schemas import contract as contracts
from schemas.contract import Contract


@dataclass(frozen=True)
class Whole:
    """What was compared, and at which cut."""

    cut_id: int
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
    progress: Callable[[str], None] = lambda entity: None,
) -> Whole:
    """Compare whole tables (all of them when none is chosen) at a cut taken now."""
    from pipelines import bronze, cut, refresh
    from pipelines.certificate import whole

    began = time.monotonic()
    tables = tuple(chosen) or contracts.load_all()
    known, verdicts, places = ledger.reaches(settings.warehouse_dsn), [], {}
    # The snapshot is kept: a table that differs is read again in it.
    with source_state.reading(settings.oltp_admin_dsn) as state:
        cut_id = control.record_cut(settings.warehouse_dsn, state.cut)
        cut.wait_for_capture(settings.oltp_admin_dsn, state.cut, CAPTURE_TIMEOUT_S)
        newest = bronze.ingest(spark, settings.lake, settings.kafka).last_batch_id
        at = whole.Place(spark, settings.lake, state.cut, schemas, settings.warehouse_dsn)
        for one in tables:
            progress(one.entity)
            built = refresh.build_silver(spark, settings.lake, one, state.cut, schemas)
            verdict = whole.certify(at, one, state.sums(one), _again(state, one))
            verdicts.append(verdict)
            places[one.entity] = _place(built, known.get(one.entity), newest)
    found = _with_bronze(verdicts, whole.of_bronze(spark, settings.lake, tables))
    seconds = time.monotonic() - began
    _keep(settings, cut_id, found, places, seconds)
    return Whole(cut_id, tuple(found), seconds)


def _again(state: source_state.SourceState, contract: Contract) -> Any:
    return lambda bucket: state.digests(contract, bucket)


def _place(built: Any, known: Reach | None, newest: int) -> Place:
    """Rows that this run has brought to silver are published, and compared there, by a tick."""
    shown = known.shown_after_batch if known else drilling.NOTHING
    after = built.last_batch_id
    return Place(after, shown if built.changed else after, newest)


def _with_bronze(verdicts: Iterable[Verdict], breaks: Iterable[Break]) -> list[Verdict]:
    by_entity = drilling.by_entity(breaks)
    return [replace(v, breaks=(*v.breaks, *by_entity.get(v.entity, ()))) for v in verdicts]


def _keep(
    settings: Settings,
    cut_id: int,
    verdicts: list[Verdict],
    places: Mapping[str, Place],
    seconds: float,
) -> None:
    dsn = settings.warehouse_dsn
    ledger.record(dsn, cut_id, ledger.STATE, {}, verdicts)
    agreed = {v.entity: places[v.entity] for v in verdicts if v.holds}
    ledger.certify(dsn, cut_id, checkpoint.source(settings.lake), agreed)
    if len(verdicts) == len(contracts.load_all()):
        rows = sum(v.hops["source"].changes for v in verdicts if "source" in v.hops)
        ledger.close(dsn, cut_id, ledger.STATE, None, rows, seconds)
