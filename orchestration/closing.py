"""What ends a tick: the tie-out of every layer with the operational database, and the lineage."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from expectations import catalog
from expectations.results import SuiteResult
from orchestration import control, lineage_store, news, quality, tie_out
from orchestration.assets import CUT, key
from orchestration.resources import Tick
from orchestration.settings import Settings
from schemas.contract import Contract, load_published

TIE_OUTS = dg.AssetKey(["control", "tie_outs"])
QUALITY = dg.AssetKey(["control", "quality_results"])
LINEAGE = dg.AssetKey(["control", "lineage"])
DOCS_MARK = ".rendered"
DOCS_EVERY_S = 15 * 60
MART = dg.AssetKey(["gold_credit", "mart_tie_out"])


def tie_out_asset(settings: Settings, contracts: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """Counts and money of the cut equal silver, the warehouse and gold, or the run fails."""

    @dg.asset(
        key=TIE_OUTS,
        deps=[CUT, MART, *(key(layer, c) for layer in ("silver", "warehouse") for c in contracts)],
        group_name="control",
        kinds={"postgres"},
        required_resource_keys={"tick"},
        description="Operational = silver = warehouse = gold: rows and money per currency, exact.",
        check_specs=[
            dg.AssetCheckSpec(
                _check(c), asset=TIE_OUTS, description=f"{c.entity} is equal in every layer."
            )
            for c in contracts
        ],
    )
    def tie_outs(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        tick: Tick = context.resources.tick
        figures = compared(settings, tick)
        control.record_tie_out(settings.warehouse_dsn, tick.cut_id, figures)
        different = [f for f in figures if not f.is_exact]
        kept_out = _kept_out(tick) if different else {}
        yield dg.MaterializeResult(metadata=_metadata(tick, figures, kept_out))
        for c in contracts:
            yield _verdict(c, [f for f in different if f.entity == c.entity], kept_out)
        unexplained = [f for f in different if f.entity not in kept_out]
        if unexplained:
            raise dg.Failure("tie-out differs:\n" + "\n".join(map(str, unexplained)))
        control.complete_cut(settings.warehouse_dsn, tick.cut_id)
        if tick.offsets:
            done = {news.COMPLETE_TAG: news.to_tag(tick.offsets), **news.COMPLETE}
            context.instance.add_run_tags(tick.run_id, done)

    return tie_outs


def compared(settings: Settings, tick: Tick) -> tuple[tie_out.Figure, ...]:
    """Every figure of the tick's cut, in every layer."""
    where = tick.where
    sources = [where.warehouse("control.cuts"), where.warehouse("gold_credit.mart_tie_out")]
    with tick.lineage.step("tie_out", sources, "DAGSTER") as step:
        figures = tie_out.compare(
            tick.cut.totals,
            {c.entity: tick.silver_totals(c) for c in load_published()},
            control.published_totals(settings.warehouse_dsn),
            control.gold_totals(settings.warehouse_dsn),
        )
        step.writes(where.warehouse("control.tie_outs"), rows=len(figures))
    return figures


def quality_asset(settings: Settings, contracts: tuple[Contract, ...]) -> dg.AssetsDefinition:
    """The marts' own suites as checks; all results of the tick as a table and as pages."""
    suites = catalog.gold()

    @dg.asset(
        key=QUALITY,
        deps=[*(_relation(suite) for suite in suites), *(key("warehouse", c) for c in contracts)],
        group_name="control",
        kinds={"greatexpectations"},
        required_resource_keys={"tick"},
        description="Results of every suite of the tick: control.quality_results and data docs.",
        check_specs=[
            dg.AssetCheckSpec(suite.mart, asset=QUALITY, description=f"Rules of {suite.relation}.")
            for suite in suites
        ],
    )
    def quality_results(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        from expectations import report, run

        tick: Tick = context.resources.tick
        of_marts = run.check_gold(settings.warehouse_dsn)
        found = [*tick.verdicts.values(), *of_marts]
        rows = report.write(settings.warehouse_dsn, tick.run_id, found, tick.cut_id)
        pages = settings.home.absolute() / "quality"
        if _docs_are_due(pages, found):
            report.write_docs(settings.home.absolute(), tick.run_id, found)
            (pages / DOCS_MARK).touch()
        yield dg.MaterializeResult(
            metadata={"results": rows, "data_docs": dg.MetadataValue.path(pages)}
        )
        for verdict in of_marts:
            yield quality.of_mart(QUALITY, verdict)

    return quality_results


def _docs_are_due(pages: Path, found: list[SuiteResult]) -> bool:
    """Rendering costs seconds, so a tick without failures renders only now and then."""
    mark = pages / DOCS_MARK
    if not mark.is_file() or any(not result.success for result in found):
        return True
    return time.time() - mark.stat().st_mtime > DOCS_EVERY_S


def _relation(suite: catalog.GoldSuite) -> dg.AssetKey:
    return dg.AssetKey(suite.relation.split("."))


def lineage_asset(settings: Settings) -> dg.AssetsDefinition:
    """The event store: what it holds, kept from growing without end."""

    @dg.asset(
        key=LINEAGE,
        deps=[TIE_OUTS],
        group_name="control",
        required_resource_keys={"tick"},
        description="OpenLineage events of every step; `millrace lineage TABLE.COLUMN` reads them.",
    )
    def lineage() -> dg.MaterializeResult[Any]:
        path = settings.home.absolute() / "lineage" / "events.jsonl"
        kept = lineage_store.compact(path)
        return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(path), **kept})

    return lineage


def _check(contract: Contract) -> str:
    return f"{contract.entity}_ties_out"


def _kept_out(tick: Tick) -> dict[str, int]:
    from orchestration import kept_out

    return kept_out.by_entity(tick.spark, tick.settings.lake)


def _verdict(
    contract: Contract, different: list[tie_out.Figure], kept_out: dict[str, int]
) -> dg.AssetCheckResult:
    explained = contract.entity in kept_out
    return dg.AssetCheckResult(
        asset_key=TIE_OUTS,
        check_name=_check(contract),
        passed=not different,
        severity=dg.AssetCheckSeverity.WARN if explained else dg.AssetCheckSeverity.ERROR,
        metadata={
            "differences": dg.MetadataValue.md("\n".join(f"- {f}" for f in different) or "none"),
            "kept_out_by_quarantine": kept_out.get(contract.entity, 0),
        },
    )


def _metadata(
    tick: Tick, figures: tuple[tie_out.Figure, ...], kept_out: dict[str, int]
) -> dict[str, Any]:
    columns = ["entity", "measure", "currency", *tie_out.LAYERS, "is_exact"]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in columns])
    records = [
        dg.TableRecord({name: str(getattr(figure, name)) for name in columns}) for figure in figures
    ]
    return {
        "cut_id": tick.cut_id,
        "figures": len(figures),
        "different": sum(not f.is_exact for f in figures),
        "kept_out_by_quarantine": dg.MetadataValue.json(kept_out),
        "table": dg.MetadataValue.table(records, schema),
    }
