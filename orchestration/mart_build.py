"""One dbt build as an asset step: what each model and test came to, with rows and lineage."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
from dagster_dbt import dbt_assets
from dagster_dbt.asset_utils import get_subset_selection_for_context
from psycopg import sql

from orchestration import marts
from orchestration.column_lineage import Sources, of_query
from orchestration.lineage import Assertion, Step
from orchestration.resources import Tick
from orchestration.settings import Settings

Event = dg.MaterializeResult[Any] | dg.AssetCheckResult


def mart_assets(settings: Settings) -> dg.AssetsDefinition:
    """Staging, intermediate and marts: everything in dbt/, its tests as checks."""
    parsed, translator = marts.manifest(settings), marts.Translator()

    @dbt_assets(
        manifest=parsed,
        dagster_dbt_translator=translator,
        name="dbt_models",
        required_resource_keys={"tick"},
    )
    def dbt_models(context: dg.AssetExecutionContext) -> Iterator[Event]:
        selection, indirect = get_subset_selection_for_context(
            context=context,
            manifest=parsed,
            select="fqn:*",
            exclude="",
            selector="",
            dagster_dbt_translator=translator,
            current_dbt_indirect_selection_env=None,
        )
        how = ["--indirect-selection", indirect] if indirect else []
        outcome = marts.run_dbt(settings, ["build", *selection, *how])
        yield from Told(settings, parsed, translator, context.resources.tick).of(outcome.results)

    return dbt_models


class Told:
    """Tells Dagster and the lineage what a dbt build did."""

    def __init__(
        self,
        settings: Settings,
        parsed: Mapping[str, Any],
        translator: marts.Translator,
        tick: Tick,
    ) -> None:
        self._settings, self._tick = settings, tick
        self._parsed, self._translator = parsed, translator
        self._names = {
            f"{n['schema']}.{n['name']}": node_id
            for kind in ("nodes", "sources")
            for node_id, n in parsed[kind].items()
            if n["resource_type"] in {"model", "source", "seed"}
        }
        self._checks = marts.check_keys(parsed, translator)

    def of(self, results: list[Any]) -> Iterator[Event]:
        """Events in an order that Dagster takes: models, then tests. Raises when a model broke."""
        models = [r for r in results if r.node.resource_type in {"model", "seed"}]
        tests = [r for r in results if r.node.resource_type == "test"]
        built = [r for r in models if r.status == "success"]
        columns, rows = _columns(self._settings.warehouse_dsn), self._rows(built)
        traced = self._traced(built, columns)
        for result in models:
            name = _name(result)
            self._tell_lineage(result, traced.get(name, {}), rows.get(name), columns.get(name, []))
            if result.status == "success":
                yield self._materialized(result, rows.get(name), traced.get(name, {}))
        self._tell_tests(tests)
        yield from (self._checked(r) for r in tests if self._check_key(r) is not None)
        if reasons := _broken(models, tests):
            raise dg.Failure("dbt did not build everything:\n" + "\n".join(reasons))

    def _materialized(self, result: Any, rows: int | None, traced: Sources) -> Event:
        deps = {
            column: [
                dg.TableColumnDep(asset_key=self._key(self._names[table]), column_name=source)
                for table, source in edges
                if table in self._names
            ]
            for column, edges in traced.items()
        }
        return dg.MaterializeResult(
            asset_key=self._key(result.node.unique_id),
            metadata={
                **({} if rows is None else {"dagster/row_count": rows}),
                "dagster/column_lineage": dg.TableColumnLineage(deps),
                "seconds": round(float(result.execution_time), 3),
                "complete_through_cut": self._tick.cut_id,
            },
        )

    def _key(self, node_id: str) -> dg.AssetKey:
        return self._translator.get_asset_spec(self._parsed, node_id, None).key

    def _check_key(self, result: Any) -> dg.AssetCheckKey | None:
        return self._checks.get(result.node.unique_id)

    def _checked(self, result: Any) -> Event:
        key = self._checks[result.node.unique_id]
        warns = str(result.node.config.severity).lower() == "warn"
        return dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.status == "pass",
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            metadata={"unexpected_rows": result.failures or 0, "message": result.message or ""},
        )

    def _tell_lineage(
        self, result: Any, traced: Sources, rows: int | None, columns: list[str]
    ) -> None:
        if result.status == "skipped":
            return
        where = self._tick.where
        parents = [self._table_of(i) for i in result.node.depends_on.nodes]
        step = Step(f"dbt.{result.node.name}", "DBT", sql=result.node.compiled_code)
        step.inputs = tuple(where.warehouse(name) for name in parents if name)
        edges = {
            column: [(where.warehouse(table), source) for table, source in found]
            for column, found in traced.items()
        }
        step.writes(where.warehouse(_name(result)), edges, rows, dict.fromkeys(columns, ""))
        error = result.message if result.status == "error" else None
        self._tick.lineage.past(step, *_times(result), error)

    def _tell_tests(self, tests: list[Any]) -> None:
        if not tests:
            return
        step = Step("dbt.tests", "DBT")
        for result in tests:
            severity = str(result.node.config.severity).lower()
            assertion = Assertion(
                result.node.name,
                result.status == "pass",
                severity,
                getattr(result.node, "column_name", None),
            )
            for name in filter(None, (self._table_of(i) for i in result.node.depends_on.nodes)):
                step.checked(self._tick.where.warehouse(name), [assertion])
        begun, ended = zip(*(_times(result) for result in tests), strict=True)
        self._tick.lineage.past(step, min(begun), max(ended), None)

    def _table_of(self, node_id: str) -> str | None:
        return next((name for name, known in self._names.items() if known == node_id), None)

    def _rows(self, built: list[Any]) -> dict[str, int]:
        """Rows of every model in one round trip; a view has no count of its own."""
        if not built:
            return {}
        counts = sql.SQL(" union all ").join(
            sql.SQL("select {}, count(*) from {}").format(
                sql.Literal(_name(r)), sql.Identifier(r.node.schema, r.node.name)
            )
            for r in built
        )
        with psycopg.connect(self._settings.warehouse_dsn) as connection:
            return {str(name): int(rows) for name, rows in connection.execute(counts)}

    def _traced(self, built: list[Any], columns: Mapping[str, list[str]]) -> dict[str, Sources]:
        """Column lineage of each model; parsed again only when its SQL or its sources change."""
        store = marts.artifacts(self._settings) / "column_lineage.json"
        kept = json.loads(store.read_text()) if store.is_file() else {}
        known = json.dumps(columns, sort_keys=True)
        traced, digests = {}, {}
        for result in built:
            code = result.node.compiled_code or ""
            digest = hashlib.sha256((code + known).encode()).hexdigest()
            traced[_name(result)] = kept.get(digest) or of_query(code, columns)
            digests[digest] = traced[_name(result)]
        if digests.keys() - kept.keys():
            store.write_text(json.dumps(kept | digests))
        return traced


def _broken(models: list[Any], tests: list[Any]) -> list[str]:
    """Why a model is not up to date: its own error, or a failed test of what it reads."""
    errors = [f"{_name(r)}: {r.message}" for r in models if r.status == "error"]
    skipped = [_name(r) for r in models if r.status == "skipped"]
    if not skipped:
        return errors
    failed = [f"{r.node.name}: {r.message}" for r in tests if r.status in {"fail", "error"}]
    return [*errors, *failed, f"held back for that: {', '.join(sorted(skipped))}"]


def _name(result: Any) -> str:
    return f"{result.node.schema}.{result.node.name}"


def _times(result: Any) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    begun = [t.started_at for t in result.timing if t.started_at]
    ended = [t.completed_at for t in result.timing if t.completed_at]
    return _utc(min(begun, default=now)), _utc(max(ended, default=now))


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _columns(dsn: str) -> dict[str, list[str]]:
    """schema.table -> its columns in order, of everything a model may read or be."""
    query = """
        select
            table_schema || '.' || table_name,
            array_agg(column_name::text order by ordinal_position)
        from information_schema.columns
        where table_schema in ('silver', 'control', 'staging', 'gold_credit', 'gold_compliance')
        group by 1
    """
    with psycopg.connect(dsn) as connection:
        return {str(table): list(names) for table, names in connection.execute(query)}
