"""Tells OpenLineage what the connector reads and writes, column by column, from the contracts."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    documentation_dataset,
    job_type_job,
    schema_dataset,
)

from connectors import config
from schemas.contract import Contract, load_all

JOB_NAMESPACE = "millrace"
PRODUCER = "urn:millrace:connectors"


def emit(kafka: str, oltp_host: str, oltp_port: int, oltp_db: str) -> None:
    """Send START and RUNNING of the connector's job. The transport is the environment's choice."""
    client = OpenLineageClient()
    for event in events(kafka, oltp_host, oltp_port, oltp_db):
        client.emit(event)
    client.close()


def events(kafka: str, oltp_host: str, oltp_port: int, oltp_db: str) -> list[RunEvent]:
    """The events of one registration; a stream has no COMPLETE."""
    run = Run(runId=str(uuid4()))
    job = Job(
        namespace=JOB_NAMESPACE,
        name=config.NAME,
        facets={
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="STREAMING", integration="DEBEZIUM", jobType="CONNECTOR"
            )
        },
    )
    postgres = f"postgres://{oltp_host}:{oltp_port}"
    broker = f"kafka://{kafka.split(',', maxsplit=1)[0]}"
    inputs = [_table(contract, postgres, oltp_db) for contract in load_all()]
    outputs = [_topic(contract, broker, postgres, oltp_db) for contract in load_all()]
    return [
        RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            eventType=state,
            run=run,
            job=job,
            producer=PRODUCER,
            inputs=inputs,
            outputs=outputs,
        )
        for state in (RunState.START, RunState.RUNNING)
    ]


def _table(contract: Contract, postgres: str, database: str) -> InputDataset:
    return InputDataset(
        namespace=postgres,
        name=f"{database}.{contract.source}",
        facets={"schema": _schema(contract), "documentation": _documentation(contract)},
    )


def _topic(contract: Contract, broker: str, postgres: str, database: str) -> OutputDataset:
    same = [
        column_lineage_dataset.Transformation(type="DIRECT", subtype="IDENTITY", description="")
    ]
    fields = {
        column.name: column_lineage_dataset.Fields(
            inputFields=[
                column_lineage_dataset.InputField(
                    namespace=postgres,
                    name=f"{database}.{contract.source}",
                    field=column.name,
                    transformations=same,
                )
            ]
        )
        for column in contract.columns
    }
    return OutputDataset(
        namespace=broker,
        name=contract.topic,
        facets={
            "schema": _schema(contract),
            "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields),
        },
    )


def _schema(contract: Contract) -> schema_dataset.SchemaDatasetFacet:
    return schema_dataset.SchemaDatasetFacet(
        fields=[
            schema_dataset.SchemaDatasetFacetFields(
                name=column.name, type=column.type, description=column.description
            )
            for column in contract.columns
        ]
    )


def _documentation(contract: Contract) -> documentation_dataset.DocumentationDatasetFacet:
    return documentation_dataset.DocumentationDatasetFacet(description=contract.description)
