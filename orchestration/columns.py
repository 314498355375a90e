"""Column schemas and column lineage of contract tables, as Dagster metadata."""

import dagster as dg

from schemas.contract import Column, Contract


def schema(contract: Contract, technical: bool = True) -> dg.TableSchema:
    """The contract's columns, with their constraints in words; then the technical ones."""
    declared = [_column(column, contract) for column in contract.columns]
    return dg.TableSchema(columns=declared + (_technical() if technical else []))


def lineage(contract: Contract, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Every column comes from the column of the same name of the layer before."""
    return dg.TableColumnLineage(
        deps_by_column={
            column.name: [dg.TableColumnDep(asset_key=upstream, column_name=column.name)]
            for column in contract.columns
        }
    )


def _column(column: Column, contract: Contract) -> dg.TableColumn:
    facts = [f"{column.unit}" if column.unit else "", f"references {column.references}"]
    return dg.TableColumn(
        name=column.name,
        type=f"{column.type}({column.codes})" if column.codes else column.type,
        description=column.description,
        constraints=dg.TableColumnConstraints(
            nullable=not column.required,
            unique=contract.key == (column.name,),
            other=[fact for fact in facts if fact and not fact.endswith("None")],
        ),
        tags={"class": column.classification},
    )


def _technical() -> list[dg.TableColumn]:
    return [
        dg.TableColumn("_is_deleted", "boolean", "The row is gone from the source."),
        dg.TableColumn("_commit_lsn", "long", "Commit that made this version."),
        dg.TableColumn("_changed_at", "timestamp", "When the source committed it."),
        dg.TableColumn("_ingested_at", "timestamp", "When bronze received it."),
        dg.TableColumn("_tick", "long", "The cut that brought it."),
    ]


def bronze() -> dg.TableSchema:
    """Bronze's columns: the record as Kafka had it, and where and when it was read."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn("entity", "string", "Partition: the contract's stem."),
            dg.TableColumn("topic", "string", "Where it was read."),
            dg.TableColumn("partition", "integer", "Kafka partition."),
            dg.TableColumn("offset", "long", "Kafka offset."),
            dg.TableColumn("key", "binary", "The record's key, untouched."),
            dg.TableColumn("value", "binary", "The record, untouched; null is a tombstone."),
            dg.TableColumn("headers", "json", "Kafka headers."),
            dg.TableColumn("kafka_timestamp", "timestamp", "When the broker got it."),
            dg.TableColumn("key_schema_id", "integer", "Writer schema of the key."),
            dg.TableColumn("value_schema_id", "integer", "Writer schema of the value."),
            dg.TableColumn("batch_id", "long", "The ingest that brought it."),
            dg.TableColumn("ingested_at", "timestamp", "When it was written here."),
        ]
    )
