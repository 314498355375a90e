"""What readers see, as assets: every published table, all of them in one commit at one cut.

A critical check holds back its own table; the others go on. A table that is held back goes on
showing its older cut, and says so: in its check, in control.shown_cuts, and to who reads at a cut.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import dagster as dg

from orchestration import columns, control, quality
from orchestration.assets import NEEDS, key
from orchestration.column_lineage import declared
from orchestration.datasets import Dataset
from orchestration.resources import Tick
from orchestration.settings import Settings
from orchestration.silver_builds import Increment
from schemas.contract import Contract

Event = dg.MaterializeResult[Any] | dg.AssetCheckResult


def warehouse_assets(settings: Settings, contracts: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """Silver's current tables in Postgres: changed rows only, one transaction for all tables."""

    @dg.multi_asset(
        name="warehouse",
        specs=[_spec(c) for c in contracts],
        check_specs=[
            dg.AssetCheckSpec(
                quality.PUBLISHED,
                asset=key("warehouse", c),
                description="The table shows the cut of this tick: no critical check held it back.",
            )
            for c in contracts
        ],
        can_subset=True,
        required_resource_keys=NEEDS,
    )
    def warehouse(context: dg.AssetExecutionContext) -> Iterator[Event]:
        from pipelines import publish

        tick: Tick = context.resources.tick
        chosen = [c for c in contracts if key("warehouse", c) in context.selected_asset_keys]
        brought = [c.entity for c in chosen if tick.brought(c)]
        control.record_silver(settings.warehouse_dsn, tick.cut_id, brought)
        due = []
        for c in chosen:
            increment = tick.increment(c)
            reasons = ", ".join(held_back_by(tick, c, increment))
            at_cut = c.entity in brought
            due.append(publish.Due(c, increment.rows, increment.tick, at_cut, reasons))
        with ExitStack() as steps:
            told = {
                c.entity: steps.enter_context(
                    tick.lineage.step(f"publish.{c.entity}", [tick.where.silver(c)])
                )
                for c in chosen
            }
            done = publish.publish_together(settings.warehouse_dsn, tick.cut_id, due)
            for c in chosen:
                sources = _published(c, tick.where.silver(c))
                told[c.entity].writes(tick.where.published(c), sources, done[c.entity].rows)
        shown = control.shown_cuts(settings.warehouse_dsn)
        newest = [entity for entity, (cut_id, _) in shown.items() if cut_id == tick.cut_id]
        tick.certificate.conclude(chosen, newest)
        for c in chosen:
            events = _told(settings, c, done[c.entity], shown.get(c.entity))
            yield from (e for e in events if _is_asked_for(context, e))

    return warehouse


def held_back_by(tick: Tick, contract: Contract, increment: Increment) -> list[str]:
    """Why the table must not show this tick's rows; nothing when it may."""
    verdict = quality.judged(tick, contract, increment)
    blocking = [outcome.name for outcome in verdict.outcomes if outcome.blocks]
    return [*blocking, *tick.certificate.held_back_by(contract)]


def _is_asked_for(context: dg.AssetExecutionContext, event: Event) -> bool:
    if isinstance(event, dg.MaterializeResult) or event.asset_key is None:
        return True
    return dg.AssetCheckKey(event.asset_key, quality.PUBLISHED) in context.selected_asset_check_keys


def _spec(contract: Contract) -> dg.AssetSpec:
    return dg.AssetSpec(
        key("warehouse", contract),
        deps=[key("silver", contract)],
        skippable=True,
        group_name="warehouse",
        kinds={"postgres"},
        description=f"{contract.description} Published current state, deleted rows marked.",
        metadata={
            "dagster/column_schema": columns.schema(contract),
            "dagster/table_name": f"warehouse.silver.{contract.entity}",
        },
        tags={"owner": contract.owner},
    )


def _told(
    settings: Settings, contract: Contract, did: Any, shows: tuple[int, datetime] | None
) -> Iterator[Event]:
    facts: dict[str, Any] = {
        "dagster/row_count": control.published_rows(settings.warehouse_dsn, contract),
        "rows_written": did.rows,
        "held_back_by": did.held_back_by or "nothing",
        "dagster/column_lineage": columns.lineage(contract, key("silver", contract)),
    }
    if shows:
        facts |= {"cut_id": shows[0], "complete_through": dg.MetadataValue.timestamp(shows[1])}
    own = key("warehouse", contract)
    yield dg.MaterializeResult(asset_key=own, metadata=facts)
    yield dg.AssetCheckResult(
        asset_key=own,
        check_name=quality.PUBLISHED,
        passed=not did.held_back_by,
        description=f"held back by {did.held_back_by}" if did.held_back_by else None,
    )


def _published(contract: Contract, source: Dataset) -> dict[str, tuple[tuple[Dataset, str], ...]]:
    """Personal data stays in the lake, so it has no way into the warehouse."""
    public = {c.name for c in contract.columns if c.classification == "internal"}
    return {name: edges for name, edges in declared(contract, source).items() if name in public}
