"""Silver of the tables that are not published: one step for all of them, told only of news."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration import control
from orchestration.assets import (
    NEEDS,
    key,
    silver_attributes,
    silver_facts,
    silver_together,
    silver_written,
)
from orchestration.resources import Tick
from orchestration.settings import Settings
from schemas.contract import Contract


def silver_assets(settings: Settings, contracts: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """The last state of every key of each table; a table without news costs no event."""

    @dg.multi_asset(
        name="silver_lake_only",
        specs=[
            dg.AssetSpec(key("silver", c), skippable=True, **silver_attributes(settings, c))
            for c in contracts
        ],
        required_resource_keys=NEEDS,
    )
    def silver(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        tick: Tick = context.resources.tick
        together = silver_together(context)
        sources = [tick.where.bronze(c) for c in contracts]
        with tick.lineage.step("silver.lake_only", sources) as step:
            for c in contracts:
                did = tick.silver(c, together).result
                if not did.rows_in:
                    continue
                silver_written(step, tick, c, did)
                yield dg.MaterializeResult(
                    asset_key=key("silver", c), metadata=silver_facts(tick, c, did)
                )
        brought = [c.entity for c in contracts if tick.brought(c)]
        control.record_silver(settings.warehouse_dsn, tick.cut_id, brought)

    return silver
