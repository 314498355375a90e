"""Lineage of the agents: each tells OpenLineage what it reads and writes, column by column.

START when the worker starts and COMPLETE when it stops, one run per agent. Where events go is
decided by the environment alone; a lineage store that is down never stops an agent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.base import DatasetFacet
from openlineage.client.generated.column_lineage_dataset import (
    ColumnLineageDatasetFacet,
    Fields,
    InputField,
)
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.uuid import generate_new_uuid

log = logging.getLogger(__name__)
JOBS = "millrace"
PRODUCER = "urn:millrace:streams"


@dataclass(frozen=True)
class Dataset:
    """A topic, table or Redis keyspace by its OpenLineage name."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Output:
    """What an agent writes; `columns` says which input columns each output column comes from."""

    dataset: Dataset
    columns: Mapping[str, tuple[tuple[Dataset, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Flow:
    """One agent's inputs and outputs."""

    agent: str
    inputs: tuple[Dataset, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Places:
    """Names datasets at this deployment's addresses; credentials never become part of a name."""

    kafka: str
    redis: str
    oltp_dsn: str

    def topic(self, name: str) -> Dataset:
        """A Kafka topic."""
        return Dataset(f"kafka://{self.kafka.split(',')[0]}", name)

    def keyspace(self, name: str) -> Dataset:
        """A family of Redis keys."""
        url = urlsplit(self.redis)
        return Dataset(f"redis://{url.hostname}:{url.port or 6379}", name)

    def table(self, name: str) -> Dataset:
        """A table of the operational database."""
        url = urlsplit(self.oltp_dsn)
        namespace = f"postgres://{url.hostname}:{url.port or 5432}"
        return Dataset(namespace, f"{url.path.lstrip('/')}.{name}")


def same_columns(
    source: Dataset, names: Iterable[str]
) -> dict[str, tuple[tuple[Dataset, str], ...]]:
    """Columns that are taken over under their own names."""
    return {name: ((source, name),) for name in names}


class Reporter:
    """Sends one run's events per flow."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._client = OpenLineageClient()
        self._runs = {flow.agent: (str(generate_new_uuid()), flow) for flow in flows}

    def started(self) -> None:
        """The agents begin to read."""
        self._send(RunState.START)

    def stopped(self) -> None:
        """The agents have stopped as asked; after a kill there is no such event, which shows it."""
        self._send(RunState.COMPLETE)

    def _send(self, state: RunState) -> None:
        for run_id, flow in self._runs.values():
            try:
                self._client.emit(event(state, run_id, flow))
            except Exception as error:
                log.warning("lineage of %s not recorded: %s", flow.agent, error)


def event(state: RunState, run_id: str, flow: Flow) -> RunEvent:
    """The flow as an OpenLineage event."""
    kind = JobTypeJobFacet(processingType="STREAMING", integration="FAUST", jobType="AGENT")
    return RunEvent(
        eventType=state,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(runId=run_id),
        job=Job(namespace=JOBS, name=f"streams.{flow.agent}", facets={"jobType": kind}),
        producer=PRODUCER,
        inputs=[InputDataset(one.namespace, one.name) for one in flow.inputs],
        outputs=[_output(output) for output in flow.outputs],
    )


def _output(output: Output) -> OutputDataset:
    fields = {
        column: Fields(
            inputFields=[
                InputField(source.namespace, source.name, source_column)
                for source, source_column in sources
            ]
        )
        for column, sources in output.columns.items()
    }
    facets: dict[str, DatasetFacet] = (
        {"columnLineage": ColumnLineageDatasetFacet(fields=fields)} if fields else {}
    )
    return OutputDataset(output.dataset.namespace, output.dataset.name, facets=facets)
