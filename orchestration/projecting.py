"""Read models as assets: one step makes those that have news; the others cost no event."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from orchestration.assets import CUT, EVENTS, NEEDS, key, silver_together
from orchestration.certificates import CERTIFICATES
from orchestration.resources import Tick
from orchestration.settings import Settings
from pipelines.projections.columns import COLUMNS
from schemas import contract as contracts_of

FOLDED = ("application_timeline", "application_states")
# Silver that links an event to its application, and says how the application really ended.
LINKED = ("applications", "offers", "active_credits")
READ, AGREES = "every_event_is_read", "events_end_as_the_row_says"
# name -> what it is; what each is made of is in pipelines/projections/README.md.
DESCRIPTIONS: Mapping[str, str] = {
    "application_timeline": "Every event of an application in order, and the status after it.",
    "application_states": "Applications rebuilt from their events alone. One row an application.",
    "onboarding_case_projection": "What a case worker sees of a case. One row a case.",
    "case_waits": "Whether risk and compliance are both done. One row a case.",
    "provider_rate_intervals": "When a provider quoted which rates. One row an unbroken run.",
    "provider_rate_snapshots": "Quotes as they came, believed or refused. One row a snapshot.",
}


def projection_key(name: str) -> dg.AssetKey:
    """The asset of a read model."""
    return dg.AssetKey(["projections", name])


def projection_assets(settings: Settings) -> dg.AssetsDefinition:
    """After the certificate: what they are made of is at the cut, and proven to be."""
    silver = [key("silver", c) for c in contracts_of.load_published() if c.entity in LINKED]

    @dg.multi_asset(
        name="projections",
        specs=[
            dg.AssetSpec(
                projection_key(name),
                # Silver of tables that are not published is waited for by the certificate: a step
                # that depends on what may be skipped would be skipped with it.
                deps=[CUT, CERTIFICATES, *((EVENTS, *silver) if name in FOLDED else ())],
                skippable=True,
                group_name="projections",
                kinds={"spark", "delta"},
                description=described,
                metadata={
                    "dagster/column_schema": _columns(name),
                    "dagster/uri": str(settings.lake.absolute() / "projections" / name),
                },
            )
            for name, described in DESCRIPTIONS.items()
        ],
        check_specs=[
            dg.AssetCheckSpec(
                READ,
                asset=projection_key(FOLDED[0]),
                description="No event of an application is kept without being understood.",
            ),
            dg.AssetCheckSpec(
                AGREES,
                asset=projection_key(FOLDED[1]),
                description="What the events tell and the application's row have the same end.",
            ),
        ],
        required_resource_keys=NEEDS,
    )
    def projections(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        from pipelines.projections import runner
        from pipelines.registry import WriterSchemas

        tick: Tick = context.resources.tick
        tick.await_silver(silver_together(context))
        sources = [tick.where.silver(contracts_of.load(entity)) for entity in runner.INPUTS]
        with tick.lineage.step("projections", sources) as step:
            schemas = WriterSchemas(settings.registry)
            built = {
                did.name: did for did in runner.build(tick.spark, settings.lake, tick.cut, schemas)
            }
            for name, did in built.items():
                if did.rows is not None:
                    step.writes(tick.where.projection(name), rows=did.rows)
        through = dg.MetadataValue.timestamp(tick.cut.taken_at)
        for name, did in built.items():
            if did.rows is not None:
                told: dict[str, Any] = {"rows_written": did.rows, "complete_through": through}
                if name == FOLDED[0]:
                    told["waiting_for_next_cut"] = did.waiting
                yield dg.MaterializeResult(asset_key=projection_key(name), metadata=told)
        unreadable, differing = built[FOLDED[0]].unreadable, built[FOLDED[1]].differing
        yield _check(FOLDED[0], READ, unreadable)
        yield _check(FOLDED[1], AGREES, differing)

    return projections


def _columns(name: str) -> dg.TableSchema:
    told = COLUMNS[name].items()
    return dg.TableSchema([dg.TableColumn(column, description=text) for column, text in told])


def _check(name: str, check: str, wrong: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=projection_key(name),
        check_name=check,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"count": wrong, "what_to_do": "pipelines/projections/README.md"},
    )
