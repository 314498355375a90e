"""Run a whole tick in this process, without the daemon; it shows in the Dagster UI all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.errors import DagsterHomeNotSetError

from orchestration import control
from orchestration.settings import Settings
from orchestration.tie_out import Figure

Progress = Callable[[str], None]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class CheckOutcome:
    """One check of the run: a suite's expectation, a dbt test, a publish or a tie-out."""

    asset: str
    name: str
    passed: bool
    severity: str


@dataclass(frozen=True)
class RefreshResult:
    """What one tick did. `rows` is layer -> entity -> rows, as each asset reported them."""

    run_id: str
    success: bool
    cut_id: int | None
    rows: Mapping[str, Mapping[str, int]]
    checks: tuple[CheckOutcome, ...]
    tie_out: tuple[Figure, ...]
    seconds: Mapping[str, float]
    errors: tuple[str, ...] = ()
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """The tie-out was made and every figure is equal in every layer."""
        return bool(self.tie_out) and all(figure.is_exact for figure in self.tie_out)

    @property
    def failed_checks(self) -> tuple[CheckOutcome, ...]:
        """Critical checks that did not pass; warnings are not among them."""
        return tuple(c for c in self.checks if not c.passed and c.severity == "ERROR")


def refresh(
    progress: Progress | None = None, instance: dg.DagsterInstance | None = None
) -> RefreshResult:
    """Bring gold to a cut taken now. Waits for its turn when another run is under way."""
    from orchestration.definitions import build

    settings = Settings()
    with _instance(instance) as used:
        run_id = str(uuid4())
        told = _Events(progress or (lambda line: None))
        used.add_event_listener(run_id, told.add)
        outcome = (
            build(settings)
            .resolve_job_def("refresh")
            .execute_in_process(
                instance=used, run_id=run_id, raise_on_error=False, run_config=QUIET
            )
        )
    return told.result(run_id, outcome.success, settings)


class _Events:
    """Reads a run's events as they come: progress lines now, the result at the end."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._errors: list[str] = []
        self._metadata: dict[str, dict[str, Any]] = {}
        self._checks: list[CheckOutcome] = []

    def add(self, entry: dg.EventLogEntry) -> None:
        """Take in one event of the run."""
        event = entry.dagster_event
        if event is None:
            return
        if event.is_step_success:
            seconds = event.step_success_data.duration_ms / 1000
            self._seconds[str(event.step_key)] = seconds
            self._progress(f"{event.step_key} {seconds:.1f} s")
        elif event.is_step_failure:
            words = event.step_failure_data.error_display_string.strip().splitlines()
            self._errors.append(f"{event.step_key}: {_said(event)}")
            self._progress(f"{event.step_key} failed: {words[0] if words else 'no reason given'}")
        elif event.is_step_materialization:
            made = event.step_materialization_data.materialization
            self._metadata[made.asset_key.to_user_string()] = {
                name: entry.value for name, entry in made.metadata.items()
            }
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            self._checks.append(
                CheckOutcome(
                    found.asset_key.to_user_string(),
                    found.check_name,
                    found.passed,
                    found.severity.value,
                )
            )

    def result(self, run_id: str, success: bool, settings: Settings) -> RefreshResult:
        """Everything the run did."""
        cut_id = self._metadata.get("control/cuts", {}).get("cut_id")
        last = control.last_tie_out(settings.warehouse_dsn) if cut_id else None
        return RefreshResult(
            run_id=run_id,
            success=success,
            cut_id=cut_id,
            rows=self._rows(),
            checks=tuple(self._checks),
            tie_out=tuple(last[2]) if last and last[0] == cut_id else (),
            seconds={**self._seconds, "total": time.monotonic() - self._began},
            errors=tuple(self._errors),
            metadata=self._metadata,
        )

    def _rows(self) -> dict[str, dict[str, int]]:
        rows: dict[str, dict[str, int]] = {}
        for asset, metadata in self._metadata.items():
            layer, _, name = asset.partition("/")
            counted = metadata.get("dagster/row_count", metadata.get("rows_added"))
            if isinstance(counted, int):
                rows.setdefault(layer, {})[name] = counted
        return rows


@contextmanager
def _instance(given: dg.DagsterInstance | None) -> Iterator[dg.DagsterInstance]:
    """The given one, else DAGSTER_HOME's, else one that is forgotten afterwards."""
    if given is not None:
        yield given
        return
    try:
        made = dg.DagsterInstance.get()
    except DagsterHomeNotSetError:
        made = dg.DagsterInstance.ephemeral()
    with made as instance:
        yield instance


def _said(event: dg.DagsterEvent) -> str:
    """What a person needs of a failure: the words of the innermost error."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason given"
