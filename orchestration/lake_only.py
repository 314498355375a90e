"""Silver of the tables that are not published: one step for all of them, told only of news."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration import columns, control
from orchestration.assets import CUT, NEEDS, key, silver_together, types_of
from orchestration.column_lineage import declared
from orchestration.resources import Tick
from orchestration.settings import Settings
from schemas.contract import Contract


def silver_assets(settings: Settings, contracts: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """The last state of every key of each table; a table without news costs no event."""

    @dg.multi_asset(
        name="silver_lake_only",
        specs=[
            dg.AssetSpec(
                key("silver", c),
                deps=[CUT, key("bronze", c)],
                skippable=True,
                group_name="silver",
                kinds={"spark", "delta"},
                description=f"{c.description} Grain: {c.grain}. In the lake only.",
                metadata={
                    "dagster/column_schema": columns.schema(c),
                    "dagster/uri": str(settings.lake.absolute() / "silver" / c.entity / "current"),
                },
                tags={"owner": c.owner},
            )
            for c in contracts
        ],
        required_resource_keys=NEEDS,
    )
    def silver(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        tick: Tick = context.resources.tick
        where, together = tick.where, silver_together(context)
        sources = [where.bronze(c) for c in contracts]
        with tick.lineage.step("silver.lake_only", sources) as step:
            for c in contracts:
                did = tick.silver(c, together).result
                if not did.rows_in:
                    continue
                step.writes(where.silver(c), declared(c, where.bronze(c)), did.changed, types_of(c))
                yield dg.MaterializeResult(
                    asset_key=key("silver", c),
                    metadata={
                        "rows_in": did.rows_in,
                        "changed": did.changed,
                        "deleted": did.deleted,
                        "quarantined": did.quarantined,
                        "waiting_for_next_cut": did.waiting,
                        "undeclared_columns": ", ".join(did.undeclared) or "none",
                        "complete_through": dg.MetadataValue.timestamp(tick.cut.taken_at),
                        "dagster/column_lineage": columns.lineage(c, key("bronze", c)),
                    },
                )
        brought = [c.entity for c in contracts if tick.brought(c)]
        control.record_silver(settings.warehouse_dsn, tick.cut_id, brought)

    return silver
