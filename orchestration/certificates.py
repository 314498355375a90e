"""The certificate as an asset: what this tick has proven, table by table, and what differs."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration import control
from orchestration.assets import CUT, NEEDS, key, silver_together
from orchestration.certifying import Outcome
from orchestration.resources import Tick
from orchestration.settings import Settings
from schemas.contract import Contract

CERTIFICATES = dg.AssetKey(["control", "certificates"])
AGREES, IS_WITNESSED = "every_hop_agrees", "is_witnessed"


def certificate_asset(settings: Settings, published: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """Every captured table, the lake-only ones too; published ones are proven with their commit."""

    @dg.asset(
        key=CERTIFICATES,
        deps=[CUT, *(key("warehouse", c) for c in published)],
        group_name="control",
        kinds={"postgres", "delta"},
        required_resource_keys=NEEDS,
        description="Source = bronze = silver = warehouse, change by change, up to this cut.",
        check_specs=[
            dg.AssetCheckSpec(
                AGREES, asset=CERTIFICATES, description="No hop lacks, adds or alters a change."
            ),
            dg.AssetCheckSpec(
                IS_WITNESSED,
                asset=CERTIFICATES,
                description="The source's own log was read for the comparison.",
            ),
        ],
    )
    def certificates(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        tick: Tick = context.resources.tick
        # Their builds run beside the marts; here they are waited for.
        tick.await_silver(silver_together(context))
        shown = control.shown_cuts(settings.warehouse_dsn)
        at_cut = [entity for entity, (cut_id, _) in shown.items() if cut_id == tick.cut_id]
        outcome = tick.certificate.finish(at_cut)
        yield dg.MaterializeResult(metadata=_metadata(tick, outcome))
        yield dg.AssetCheckResult(
            asset_key=CERTIFICATES,
            check_name=AGREES,
            passed=not outcome.breaks,
            metadata={"breaks": dg.MetadataValue.md(_listed(outcome.breaks))},
        )
        yield dg.AssetCheckResult(
            asset_key=CERTIFICATES,
            check_name=IS_WITNESSED,
            passed=outcome.problem is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=outcome.problem,
        )

    return certificates


def _metadata(tick: Tick, outcome: Outcome) -> dict[str, Any]:
    return {
        "cut_id": tick.cut_id,
        "tables": outcome.certified,
        "changes": outcome.changes,
        "breaks": dg.MetadataValue.md(_listed(outcome.breaks)),
        "seconds": round(outcome.seconds, 2),
        "what_to_do": "pipelines/certificate/README.md",
    }


def _listed(breaks: list[str]) -> str:
    return "\n".join(f"- {one}" for one in breaks) or "none"
