"""The tables of a tick as assets: cut, bronze and silver, by loops over the contracts.

Every step may be repeated: a cut is new each time, bronze adds nothing twice, silver carries
watermarks. What follows silver is in `orchestration.publishing`.
"""

from collections.abc import Iterator
from typing import Any, cast

import dagster as dg

from orchestration import capture_looks, columns, control, news, quality, sources
from orchestration.column_lineage import declared
from orchestration.lineage import Step
from orchestration.resources import Tick
from orchestration.settings import Settings
from schemas import contract as contracts_of
from schemas import topics
from schemas.contract import Contract

CUT = dg.AssetKey(["control", "cuts"])
# What the outbox and the streams announced: part of bronze, and no table's changes.
EVENTS = dg.AssetKey(["bronze", "events"])
CAPTURE_TIMEOUT_S = 120
NEEDS = {"tick"}


def key(layer: str, contract: Contract) -> dg.AssetKey:
    """The asset of an entity in a layer."""
    return dg.AssetKey([layer, contract.entity])


def cut_asset(settings: Settings) -> dg.AssetsDefinition:
    """The moment this tick speaks of; waits until everything before it is in Kafka."""

    @dg.asset(
        key=CUT,
        group_name="control",
        kinds={"postgres"},
        required_resource_keys=NEEDS,
        description="One REPEATABLE READ snapshot of the operational database, with its totals.",
    )
    def cut(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        from pipelines import cut as cuts

        tick: Tick = context.resources.tick
        tick.warm_up()
        capture_looks.require(settings)
        # Read before the cut: what is in Kafka now was committed before it and so belongs to it.
        offsets = news.end_offsets(settings.kafka, topics.captured())
        offsets |= news.released(settings.lake)
        context.instance.add_run_tags(tick.run_id, {news.ATTEMPTED_TAG: news.to_tag(offsets)})
        taken = tick.certificate.take_cut()
        cut_id = control.record_cut(settings.warehouse_dsn, taken)
        waited_s = cuts.wait_for_capture(settings.oltp_admin_dsn, taken, CAPTURE_TIMEOUT_S)
        # Everything before the cut is in Kafka now: who has read so far has seen all of it.
        passed = news.end_offsets(settings.kafka, topics.captured())
        control.record_offsets(settings.warehouse_dsn, cut_id, passed)
        tick.begin(taken, cut_id, offsets)
        tick.certificate.begin(cut_id, taken)
        return dg.MaterializeResult(
            metadata={
                "cut_id": cut_id,
                "lsn": f"{taken.lsn >> 32:X}/{taken.lsn & 0xFFFFFFFF:X}",
                "taken_at": dg.MetadataValue.timestamp(taken.taken_at),
                "waited_for_capture_s": round(waited_s, 2),
                "rows": dg.MetadataValue.json({e: t["rows"] for e, t in taken.totals.items()}),
            }
        )

    return cut


def bronze_assets(settings: Settings, contracts: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """Bronze is one query over all topics and one table, partitioned by entity."""

    @dg.multi_asset(
        name="bronze",
        specs=[
            dg.AssetSpec(
                key("bronze", c),
                deps=[CUT, sources.topic_key(c.topic)],
                group_name="bronze",
                kinds={"spark", "delta"},
                description=f"Every captured change of {c.source} as it arrived. Append-only.",
                metadata={
                    "dagster/column_schema": columns.bronze(),
                    "dagster/uri": str(settings.lake.absolute() / "bronze"),
                },
            )
            for c in contracts
        ]
        + [
            dg.AssetSpec(
                EVENTS,
                deps=[CUT],
                group_name="bronze",
                kinds={"spark", "delta"},
                description="Every event of the outbox and of the streams as it arrived.",
                metadata={"dagster/column_schema": columns.bronze()},
            )
        ],
        required_resource_keys=NEEDS,
    )
    def bronze(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        from pipelines.bronze import ingest

        tick: Tick = context.resources.tick
        with tick.lineage.step("bronze", [tick.where.topic(c) for c in contracts]) as step:
            result = ingest(tick.spark, settings.lake, settings.kafka)
            tick.has_ingested = True
            for c in contracts:
                source = tick.where.topic(c)
                step.writes(tick.where.bronze(c), declared(c, source), result.rows.get(c.entity, 0))
        for c in contracts:
            yield dg.MaterializeResult(
                asset_key=key("bronze", c),
                metadata={
                    "rows_added": result.rows.get(c.entity, 0),
                    "batch_id": result.last_batch_id,
                    "dagster/column_lineage": columns.lineage(c, sources.topic_key(c.topic)),
                },
            )
        tables = {c.entity for c in contracts}
        events = {name: rows for name, rows in result.rows.items() if name not in tables}
        yield dg.MaterializeResult(
            asset_key=EVENTS,
            metadata={
                "rows_added": sum(events.values()),
                "events": dg.MetadataValue.json(events),
                "batch_id": result.last_batch_id,
            },
        )

    return bronze


def silver_asset(settings: Settings, contract: Contract) -> dg.AssetsDefinition:
    """The last state of every key, and its rules judged on the rows that changed."""
    own = key("silver", contract)

    @dg.asset(
        key=own,
        **silver_attributes(settings, contract),
        required_resource_keys=NEEDS,
        check_specs=quality.specs(contract, own),
    )
    def silver(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        tick: Tick = context.resources.tick
        with tick.lineage.step(f"silver.{contract.entity}", [tick.where.bronze(contract)]) as step:
            built = tick.silver(contract, silver_together(context))
            silver_written(step, tick, contract, built.result)
        verdict = quality.judged(tick, contract, built.increment)
        rows = {"dagster/row_count": built.totals["rows"]}
        yield dg.MaterializeResult(metadata=rows | silver_facts(tick, contract, built.result))
        yield from quality.results(contract, own, verdict)

    return cast(dg.AssetsDefinition, silver)


def silver_attributes(settings: Settings, contract: Contract) -> dict[str, Any]:
    """What an entity's silver asset says of itself, whichever step makes it."""
    return {
        "deps": [CUT, key("bronze", contract)],
        "group_name": "silver",
        "kinds": {"spark", "delta"},
        "description": f"{contract.description} Grain: {contract.grain}.",
        "metadata": {
            "dagster/column_schema": columns.schema(contract),
            "dagster/uri": str(settings.lake.absolute() / "silver" / contract.entity / "current"),
        },
        "tags": {"owner": contract.owner},
    }


def silver_written(step: Step, tick: Tick, contract: Contract, did: Any) -> None:
    """Tell the lineage what a build wrote: the entity's silver, and what quarantine keeps."""
    where = tick.where
    sources_of = declared(contract, where.bronze(contract))
    types = {column.name: column.type for column in contract.columns}
    step.writes(where.silver(contract), sources_of, did.changed, types)
    step.writes(where.quarantine(contract), None, did.quarantined)


def silver_facts(tick: Tick, contract: Contract, did: Any) -> dict[str, Any]:
    """What a build did, as the materialization's metadata."""
    return {
        "rows_in": did.rows_in,
        "changed": did.changed,
        "deleted": did.deleted,
        "quarantined": did.quarantined,
        "waiting_for_next_cut": did.waiting,
        "undeclared_columns": ", ".join(did.undeclared) or "none",
        "complete_through": dg.MetadataValue.timestamp(tick.cut.taken_at),
        "dagster/column_lineage": columns.lineage(contract, key("bronze", contract)),
    }


def silver_together(context: dg.AssetExecutionContext) -> list[Contract]:
    """The entities whose silver this run builds: all, or those that were chosen by hand."""
    chosen = context.run.asset_selection
    # What is published first: checks, marts and the tie-out wait for it.
    every = sorted(contracts_of.load_all(), key=lambda c: not c.published)
    return [c for c in every if chosen is None or key("silver", c) in chosen]
