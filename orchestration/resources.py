"""What the steps of one run share: the Spark session, the cut, the lease on the lake, the lineage.

Made once a run, in the run's own process. Heavy things start when they are first needed, or in the
background while the run waits for something else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from expectations.results import SuiteResult
from orchestration import control, lease, news
from orchestration.certifying import Certifying
from orchestration.datasets import Datasets
from orchestration.lineage import Emitter
from orchestration.settings import Settings
from orchestration.silver_builds import Built, Increment, SilverBuilds, read_increment
from pipelines.visibility import Cut
from schemas.contract import Contract


@dataclass
class Tick:
    """One run's state. A step that runs alone works towards the newest cut there is."""

    settings: Settings
    run_id: str
    where: Datasets
    lineage: Emitter
    # Kafka's end offsets before the cut was taken: what a complete run has surely brought to gold.
    offsets: news.Offsets = field(default_factory=dict)
    # entity -> the suite's verdict on what this run publishes
    verdicts: dict[str, SuiteResult] = field(default_factory=dict)
    # Whether bronze has taken in what Kafka had after the cut.
    has_ingested: bool = False
    _took_cut: bool = False
    _certificate: Certifying | None = None
    _read: dict[str, Increment] = field(default_factory=dict)
    _silver: SilverBuilds | None = None
    _cut: tuple[int, Cut] | None = None
    _spark: Any = None
    _owns_spark: bool = False
    _spark_lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cut_id(self) -> int:
        """The number of this tick."""
        return self._known_cut()[0]

    @property
    def cut(self) -> Cut:
        """What this tick brings to gold."""
        return self._known_cut()[1]

    @property
    def certificate(self) -> Certifying:
        """What this run proves of the cut."""
        if self._certificate is None:
            self._certificate = Certifying(self.settings)
        return self._certificate

    @property
    def spark(self) -> Any:
        """The session of this run, started on first use (about nine seconds)."""
        with self._spark_lock:
            if self._spark is None:
                from pyspark.sql import SparkSession

                from pipelines import session
                from pipelines.settings import Settings as PipelineSettings

                # In a test the session is somebody else's, and they stop it.
                self._owns_spark = SparkSession._instantiatedSession is None
                self._spark = session.build(PipelineSettings(lake=self.settings.lake))
            return self._spark

    def begin(self, cut: Cut, cut_id: int, offsets: news.Offsets) -> None:
        """This run brings `cut`."""
        self._cut, self.offsets, self._took_cut = (cut_id, cut), offsets, True

    def brought(self, contract: Contract) -> bool:
        """Whether silver is surely as of the cut: this run took it, ingested, and built silver."""
        built = self._silver is not None and self._silver.has(contract)
        return self._took_cut and self.has_ingested and built

    def silver(self, contract: Contract, together: Iterable[Contract]) -> Built:
        """The entity's silver at this cut; the first call starts the builds of all `together`."""
        if self._silver is None:
            self._silver = SilverBuilds(self.settings, self.spark, self.cut, self.certificate)
        return self._silver.of(contract, together)

    def await_silver(self, together: Iterable[Contract]) -> None:
        """Until the builds of all `together` are over; the first that failed raises its error."""
        every = list(together)
        for contract in every:
            self.silver(contract, every)

    def increment(self, contract: Contract) -> Increment:
        """What this run publishes of the entity, also when its silver was built by another run."""
        if self._silver is not None and self._silver.has(contract):
            return self._silver.of(contract, ()).increment
        if contract.entity not in self._read:
            self._read[contract.entity] = read_increment(self.settings, self.spark, contract)
        return self._read[contract.entity]

    def silver_totals(self, contract: Contract) -> dict[str, Any]:
        """What the entity's silver adds up to."""
        if self._silver is not None and self._silver.has(contract):
            return self._silver.of(contract, ()).totals
        from pipelines import totals

        return totals.silver_totals(self.spark, self.settings.lake, contract)

    def warm_up(self) -> None:
        """Start what takes long to start, beside the wait for capture."""
        for start in (lambda: self.spark, _import_quality, _import_dbt):
            threading.Thread(target=_quietly, args=(start,), daemon=True).start()

    def close(self) -> None:
        """Stop Spark; the process may live on and run another tick."""
        if self._silver is not None:
            self._silver.close()
        with self._spark_lock:
            if self._owns_spark:
                self._spark.stop()
            self._spark = None

    def _known_cut(self) -> tuple[int, Cut]:
        if self._cut is None:
            self._cut = control.last_cut(self.settings.warehouse_dsn)
        return self._cut


def tick_resource(settings: Settings) -> dg.ResourceDefinition:
    """The tick of a run, under a lease: no other run touches the lake meanwhile."""

    @dg.resource(description="Spark session, cut and lineage of this run, under a lease.")
    def tick(context: dg.InitResourceContext) -> Iterator[Tick]:
        run_id = context.run_id or ""
        where = Datasets(settings.oltp_dsn, settings.warehouse_dsn, settings.kafka, settings.lake)
        with lease.hold(settings.warehouse_dsn, run_id):
            state = Tick(settings, run_id, where, Emitter(run_id))
            state.lineage.started()
            try:
                yield state
            finally:
                state.close()
                state.lineage.finished(_failure(context))

    return tick


def _failure(context: dg.InitResourceContext) -> str | None:
    """The steps of the run that failed; None when there are none."""
    if context.instance is None or not context.run_id:
        return None
    failed = context.instance.get_records_for_run(
        context.run_id, of_type=dg.DagsterEventType.STEP_FAILURE
    ).records
    steps = [str(r.event_log_entry.step_key) for r in failed]
    return f"failed: {', '.join(steps)}" if steps else None


def _import_quality() -> None:
    import great_expectations  # noqa: F401

    import expectations.run  # noqa: F401


def _import_dbt() -> None:
    import dbt.cli.main  # noqa: F401


def _quietly(start: Callable[[], Any]) -> None:
    # The step that needs it raises the same error with its own context.
    try:
        start()
    except Exception as error:
        dg.get_dagster_logger().debug("not warmed up: %s", error)
