"""OpenLineage run events of a tick: every step says START, then COMPLETE or FAIL.

The transport comes from the environment alone (OPENLINEAGE_*). Lineage describes the work and never
stops it: an event that cannot be sent is logged and the step goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    sql_job,
)
from openlineage.client.uuid import generate_new_uuid

from orchestration.datasets import Dataset

NAMESPACE = "millrace"
PRODUCER = "urn:millrace:orchestration"
log = logging.getLogger(__name__)

# output column -> the columns it is made of
ColumnSources = Mapping[str, Sequence[tuple[Dataset, str]]]


@dataclass(frozen=True)
class Assertion:
    """One check's outcome, as the lineage tells it."""

    name: str
    success: bool
    severity: str
    column: str | None = None


@dataclass
class Step:
    """What a step reports while it runs; all of it is in the COMPLETE event."""

    job: str
    integration: str
    run_id: str = field(default_factory=lambda: str(generate_new_uuid()))
    inputs: tuple[Dataset, ...] = ()
    outputs: list[OutputDataset] = field(default_factory=list)
    assertions: dict[Dataset, list[Assertion]] = field(default_factory=dict)
    sql: str | None = None

    def writes(
        self,
        dataset: Dataset,
        sources: ColumnSources | None = None,
        rows: int | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        """The step wrote `rows` rows to the dataset, its columns made of `sources`."""
        facets: dict[str, Any] = {}
        if types:
            facets["schema"] = schema_dataset.SchemaDatasetFacet(
                fields=[
                    schema_dataset.SchemaDatasetFacetFields(name=name, type=kind)
                    for name, kind in types.items()
                ]
            )
        if sources:
            facets["columnLineage"] = _column_lineage(sources)
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
        counted: dict[str, Any] = {}
        if rows is not None:
            counted["outputStatistics"] = statistics(rowCount=rows)
        self.outputs.append(
            OutputDataset(
                namespace=dataset.namespace,
                name=dataset.name,
                facets=facets,
                outputFacets=counted,
            )
        )

    def checked(self, dataset: Dataset, assertions: Sequence[Assertion]) -> None:
        """The step judged the dataset."""
        self.assertions.setdefault(dataset, []).extend(assertions)


class Emitter:
    """Sends the events of one run; the run itself is the parent of its steps."""

    def __init__(self, run_id: str, job: str = "refresh") -> None:
        self._client = OpenLineageClient()
        self._run = Run(runId=run_id)
        self._job = Job(namespace=NAMESPACE, name=job)

    def started(self) -> None:
        """The run begins."""
        self._send(self._of_run(RunState.START))

    def finished(self, error: str | None = None) -> None:
        """The run is over, well or not."""
        self._send(self._of_run(RunState.FAIL if error else RunState.COMPLETE, error))

    def _of_run(self, state: RunState, error: str | None = None) -> RunEvent:
        run = Run(self._run.runId, _error(error))
        return RunEvent(
            eventTime=_now(), run=run, job=self._job, eventType=state, producer=PRODUCER
        )

    @contextmanager
    def step(
        self, job: str, inputs: Sequence[Dataset] = (), integration: str = "SPARK"
    ) -> Iterator[Step]:
        """Run a step: START on entry, COMPLETE on exit, FAIL with the message on an exception."""
        step = Step(job, integration, inputs=tuple(inputs))
        self._send(self._event(step, RunState.START))
        try:
            yield step
        except BaseException as error:
            self._send(self._event(step, RunState.FAIL, str(error)))
            raise
        self._send(self._event(step, RunState.COMPLETE))

    def past(self, step: Step, started_at: datetime, ended_at: datetime, error: str | None) -> None:
        """Tell of a step that somebody else ran, with its own times."""
        state = RunState.COMPLETE if error is None else RunState.FAIL
        self._send(self._event(step, RunState.START, at=started_at))
        self._send(self._event(step, state, error, at=ended_at))

    def _event(
        self, step: Step, state: RunState, error: str | None = None, at: datetime | None = None
    ) -> RunEvent:
        parent = parent_run.ParentRunFacet(
            run=parent_run.Run(self._run.runId),
            job=parent_run.Job(NAMESPACE, self._job.name),
        )
        run_facets: dict[str, Any] = {"parent": parent, **_error(error)}
        kind = job_type_job.JobTypeJobFacet("BATCH", step.integration, "JOB")
        job_facets: dict[str, Any] = {"jobType": kind}
        if step.sql:
            job_facets["sql"] = sql_job.SQLJobFacet(query=step.sql, dialect="postgres")
        return RunEvent(
            eventTime=at.isoformat() if at else _now(),
            run=Run(step.run_id, run_facets),
            job=Job(NAMESPACE, step.job, job_facets),
            eventType=state,
            producer=PRODUCER,
            inputs=_inputs(step),
            outputs=list(step.outputs),
        )

    def _send(self, event: RunEvent) -> None:
        try:
            self._client.emit(event)
        except Exception as error:
            log.warning("lineage event of %s was not sent: %s", event.job.name, error)


def _error(message: str | None) -> dict[str, Any]:
    if message is None:
        return {}
    return {"errorMessage": error_message_run.ErrorMessageRunFacet(message, "PYTHON")}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _column_lineage(sources: ColumnSources) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={
            column: column_lineage_dataset.Fields(
                inputFields=[
                    column_lineage_dataset.InputField(
                        namespace=dataset.namespace, name=dataset.name, field=source
                    )
                    for dataset, source in edges
                ]
            )
            for column, edges in sources.items()
        }
    )


def _inputs(step: Step) -> list[InputDataset]:
    inputs = []
    for dataset in dict.fromkeys((*step.inputs, *step.assertions)):
        facets: dict[str, Any] = {}
        if dataset in step.assertions:
            quality = data_quality_assertions_dataset
            facets["dataQualityAssertions"] = quality.DataQualityAssertionsDatasetFacet(
                [
                    quality.Assertion(a.name, a.success, column=a.column, severity=a.severity)
                    for a in step.assertions[dataset]
                ]
            )
        inputs.append(InputDataset(dataset.namespace, dataset.name, inputFacets=facets))
    return inputs
