"""The certificate of one run: the source's own account beside what every hop holds of a window.

The witness's log is read while bronze reads Kafka, a table's window beside its silver build, so a
table without news costs nothing. Without a witness the run goes on and says that it is unproven.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestration.settings import Settings
from pipelines import checkpoint
from pipelines.certificate import comparing, comparing_sums, drilling, ledger, source_state, witness
from pipelines.certificate.comparing import Evidence, Figures, Verdict
from pipelines.certificate.comparing_sums import Tallied
from pipelines.certificate.ledger import Place, Reach
from pipelines.certificate.sums import Sum, total
from pipelines.certificate.window import ROWS, OfTable, Window, WitnessBusy, WitnessLost
from pipelines.visibility import Cut, visible
from schemas import contract as contracts
from schemas.contract import Contract

LOG = logging.getLogger(__name__)
# What reading the source can meet that is no reason to stop: the window stays, to be read later.
UNREADABLE = (
    WitnessLost,
    WitnessBusy,
    source_state.SourceStateError,
    psycopg.Error,
)


@dataclass
class Seen:
    """What the run knows of one table."""

    evidence: Evidence | Tallied | None = None
    # Up to which batch silver has taken in what this cut sees.
    after_batch: int = -1
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Outcome:
    """What the run has proven: verdicts by entity, how many tables, what it cost, what is wrong."""

    verdicts: tuple[Verdict, ...]
    certified: int
    seconds: float
    problem: str | None

    @property
    def breaks(self) -> list[str]:
        """Every break, as a sentence."""
        return [str(b) for v in self.verdicts for b in v.breaks if not b.is_lawful]

    @property
    def changes(self) -> int:
        """How many changes were compared."""
        return sum(v.hops["source"].changes for v in self.verdicts if v.hops)


class Certifying:
    """One run's certificate. `problem` says why there is none."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.problem: str | None = "this run has not taken a cut: what it does is not compared"
        # What the certificate itself costs, also while others wait for something else.
        self.seconds = 0.0
        self._cut: tuple[int, Cut] | None = None
        self._states: dict[str, dict[int, Sum]] = {}
        self._reaches: dict[str, Reach] = {}
        self._open: dict[str, list[str]] = {}
        self._seen: dict[str, Seen] = defaultdict(Seen)
        # entity -> whether every hop agrees; those that were kept.
        self._proven: dict[str, bool] = {}
        self._last_batch: int | None = None
        self._source: Future[dict[str, Figures]] | None = None
        self._window: Window | None = None
        self._lock = threading.Lock()

    def take_cut(self) -> Cut:
        """The cut of this run, and in its snapshot the states of tables that have no base yet."""
        from pipelines import cut as cuts

        with self._timed():
            self._prepare()
        missing = [c for c in contracts.load_all() if c.entity not in self._reaches]
        if self.problem or not missing:
            return cuts.take(self.settings.oltp_admin_dsn)
        with source_state.reading(self.settings.oltp_admin_dsn) as state, self._timed():
            for contract in missing:
                try:
                    self._states[contract.entity] = state.sums(contract)
                except source_state.SourceStateError as error:
                    LOG.warning("%s is not certified: %s", contract.entity, error)
            return state.cut

    def begin(self, cut_id: int, cut: Cut) -> None:
        """Everything before the cut is in Kafka: the witness is asked while bronze reads."""
        self._cut = cut_id, cut
        if self.problem:
            return
        try:
            agreed = witness.agreed(self.settings.warehouse_dsn)
            if agreed is None:
                witness.start_at(self.settings.warehouse_dsn, cut_id, cut)
                return
            self._window = witness.window(self.settings.oltp_admin_dsn, agreed[1], cut)
        except UNREADABLE as error:
            self._give_up(error)
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="witness")
        self._source = pool.submit(self._read_source, agreed[0], self._window)
        pool.shutdown(wait=False)

    def beside(self, contract: Contract) -> Any:
        """What a silver build shows its records to; None when nothing would be compared."""
        reach = self._reaches.get(contract.entity)
        if self._source is None or reach is None:
            return None

        def look(session: Any, judged: Any, since: int) -> None:
            from pipelines.certificate import hops

            seen = self._seen[contract.entity]
            seen.after_batch = since
            if since == reach.after_batch:
                with self._timed():
                    window = self._window_of(reach)
                    lake = self.settings.lake
                    seen.evidence = hops.evidence(session, lake, contract, judged, window)

        return look

    def judge(self, contract: Contract, result: Any, spark: Any, schemas: Any) -> None:
        """Compare the table's hops after its build, up to current."""
        seen = self._seen[contract.entity]
        seen.after_batch = max(seen.after_batch, result.last_batch_id)
        if self.problem:
            return
        with self._lock:
            if self._last_batch is None:
                self._last_batch = _last_batch(spark, self.settings)
        if contract.entity not in self._reaches:
            # Made while the build's own work is done: not of the daily cost.
            with self._timed():
                seen.verdict = self._base(contract, spark)
        elif self._source is not None:
            try:
                told = self._source.result().get(contract.entity, Figures())
            except UNREADABLE as error:
                self._give_up(error)
                return
            with self._timed():
                seen.verdict = self._judged(contract, told, result, spark, schemas)

    def held_back_by(self, contract: Contract) -> list[str]:
        """The breaks for which the table must not be published; none when it is unproven."""
        verdict = self._seen[contract.entity].verdict
        found = [str(b) for b in verdict.breaks if not b.is_lawful] if verdict else []
        return [*found, *self._open.get(contract.entity, ())]

    def conclude(self, tables: Iterable[Contract], shown: Iterable[str]) -> None:
        """Compare what the warehouse shows of these tables at this cut, and keep the verdicts."""
        if self.problem:
            return
        with self._timed():
            known = {
                c.entity: self._seen[c.entity]
                for c in tables
                if c.entity in self._seen and c.entity not in self._proven
            }
            known = {entity: seen for entity, seen in known.items() if seen.verdict}
            self._compare_shown(set(shown), known)
            self._keep(known, set(shown))

    def finish(self, shown: Iterable[str]) -> Outcome:
        """The rest of the tables; then log that everybody agrees on is let go."""
        self.conclude(contracts.load_all(), shown)
        verdicts = tuple(seen.verdict for seen in self._seen.values() if seen.verdict)
        if not self.problem:
            self._close(verdicts)
        return Outcome(verdicts, sum(self._proven.values()), self.seconds, self.problem)

    # --- the source -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        dsn = self.settings.warehouse_dsn
        try:
            found = witness.ensure(self.settings.oltp_admin_dsn, dsn)
            if found is None:
                self.problem = (
                    "the source has no witness: capture has no slot, or it cannot be made"
                )
                LOG.warning("%s; this run is not certified", self.problem)
                return
            name = checkpoint.source(self.settings.lake)
            # What another witness or another lake was certified by says nothing about these.
            self._reaches = {
                entity: reach
                for entity, reach in ledger.reaches(dsn).items()
                if found.base_cut_id is not None
                and reach.cut_id >= found.base_cut_id
                and reach.bronze == name
            }
            for _, _, one in ledger.open_breaks(dsn, ledger.STATE):
                self._open.setdefault(one.entity, []).append(str(one))
            self.problem = None
        except UNREADABLE as error:
            self._give_up(error)

    def _read_source(self, agreed_cut_id: int, window: Window) -> dict[str, Figures]:
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for change in self._changes(agreed_cut_id, window):
            cell = sums[change.entity]
            cell[0] += 1
            cell[1] += change.digest
        return {entity: Figures(*cell) for entity, cell in sums.items()}

    def _changes(self, agreed_cut_id: int, window: Window) -> Iterator[Any]:
        """The source's changes that no table has been certified for yet."""
        later = {e: r.cut for e, r in self._reaches.items() if r.cut_id != agreed_cut_id}
        for change in window.changes():
            cut = later.get(change.entity)
            if change.op in ROWS and not (cut and visible(change.xid, None, None, cut)):
                yield change

    def _give_up(self, error: Exception) -> None:
        self.problem = f"the source cannot be asked: {str(error).strip()}"
        LOG.warning("%s; this run publishes what is not certified", self.problem)

    # --- one table --------------------------------------------------------------------------------

    def _judged(
        self, contract: Contract, told: Figures, result: Any, spark: Any, schemas: Any
    ) -> Verdict:
        from pipelines.certificate import hops

        seen, reach = self._seen[contract.entity], self._reaches[contract.entity]
        window, lake = self._window_of(reach), self.settings.lake
        if seen.evidence is None:
            behind = {reach.shown_after_batch, seen.after_batch} != {reach.after_batch}
            if not (told.changes or result.rows_in or behind):
                return Verdict(contract.entity)
            # A run before this one took the records in and was not certified.
            judged = hops.records(spark, lake, contract, window, schemas).persist()
            try:
                seen.evidence = hops.evidence(spark, lake, contract, judged, window)
            finally:
                judged.unpersist()
        source = OfTable(self._window, contract.entity, reach.cut)
        log = hops.log(spark, lake, self.settings.kafka, contract, window, schemas)
        if isinstance(seen.evidence, Tallied):
            return comparing_sums.judge(told, seen.evidence, source, log)
        verdict = comparing.judge(told, seen.evidence, source.changes, log.arrivals)
        # The rest of it has been looked at.
        seen.evidence = Evidence(contract.entity, shown=seen.evidence.shown)
        return verdict

    def _base(self, contract: Contract, spark: Any) -> Verdict | None:
        from pipelines.certificate import states

        told = self._states.get(contract.entity)
        if told is None:
            return None
        return states.based(spark, self.settings.lake, contract, total(told.values()))

    def _window_of(self, reach: Reach) -> Any:
        from pipelines.certificate.hops import Window as LakeWindow

        _, cut = self._begun()
        batches = (reach.after_batch, reach.shown_after_batch, reach.last_batch)
        return LakeWindow(reach.cut, cut, *batches)

    # --- the end ----------------------------------------------------------------------------------

    def _compare_shown(self, shown: set[str], known: Mapping[str, Seen]) -> None:
        from pipelines.certificate import showing

        with psycopg.connect(self.settings.warehouse_dsn) as connection:
            for contract in contracts.load_published():
                seen = known.get(contract.entity)
                if not (seen and seen.evidence and seen.verdict and contract.entity in shown):
                    continue
                if isinstance(seen.evidence, Tallied):
                    seen.verdict = _with_sums_shown(
                        connection, contract, seen.verdict, seen.evidence
                    )
                    continue
                wanted = seen.evidence.shown
                found = showing.states(connection, contract, (c.key for c in wanted))
                seen.verdict = comparing.with_warehouse(seen.verdict, wanted, found)

    def _keep(self, known: Mapping[str, Seen], shown: set[str]) -> None:
        dsn, (cut_id, _) = self.settings.warehouse_dsn, self._begun()
        verdicts = [seen.verdict for seen in known.values() if seen.verdict]
        for verdict in verdicts:
            self._proven[verdict.entity] = verdict.holds and verdict.entity not in self._open
            for one in verdict.breaks:
                LOG.log(logging.INFO if one.is_lawful else logging.ERROR, "%s", one)
        since = {entity: self._reaches[entity].cut_id for entity in known.keys() & self._reaches}
        windows = [v for v in verdicts if v.entity in since]
        ledger.record(dsn, cut_id, ledger.WINDOW, since, windows)
        # A base is a comparison of states.
        based = [v for v in verdicts if v.entity not in since]
        ledger.record(dsn, cut_id, ledger.STATE, {}, based)
        proven = [v.entity for v in verdicts if self._proven[v.entity]]
        places = {entity: self._place(entity, shown) for entity in proven}
        ledger.certify(dsn, cut_id, checkpoint.source(self.settings.lake), places)

    def _close(self, verdicts: Iterable[Verdict]) -> None:
        dsn, (cut_id, _) = self.settings.warehouse_dsn, self._begun()
        if not all(contract.entity in self._proven for contract in contracts.load_all()):
            return
        changes = sum(v.hops["source"].changes for v in verdicts if v.hops)
        starts = [reach.cut_id for reach in self._reaches.values()]
        ledger.close(dsn, cut_id, ledger.WINDOW, min(starts, default=None), changes, self.seconds)
        if self._window is not None and all(self._proven[entity] for entity in self._reaches):
            try:
                witness.agree(self.settings.oltp_admin_dsn, dsn, cut_id, self._window)
            except UNREADABLE as error:
                LOG.warning("the log of what is proven is let go with the next window: %s", error)

    def _place(self, entity: str, shown: set[str]) -> Place:
        seen, reach = self._seen[entity], self._reaches.get(entity)
        is_published = entity in {c.entity for c in contracts.load_published()}
        shown_after = seen.after_batch
        if is_published and entity not in shown:
            shown_after = reach.shown_after_batch if reach else drilling.NOTHING
        last = drilling.NOTHING if self._last_batch is None else self._last_batch
        return Place(seen.after_batch, shown_after, last)

    def _begun(self) -> tuple[int, Cut]:
        if self._cut is None:
            raise RuntimeError("the certificate has not begun: no cut was taken")
        return self._cut

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds += time.monotonic() - began


def _with_sums_shown(
    connection: psycopg.Connection[Any], contract: Contract, verdict: Verdict, held: Tallied
) -> Verdict:
    from pipelines.certificate import showing

    shown = showing.sums_after(connection, contract, held.shown_after)
    return comparing_sums.with_warehouse(
        verdict,
        held,
        shown,
        lambda buckets, keys: showing.of_window(
            connection, contract, held.shown_after, buckets, keys
        ),
    )


def _last_batch(spark: Any, settings: Settings) -> int:
    from pipelines import bronze

    return bronze.last_batch(spark, settings.lake)
