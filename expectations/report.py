"""Keeps what the checks of a run found: rows in `control.quality_results`, pages as data docs.

Results are added, never changed. The docs show the last runs only; personal data is masked in both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expectations import settings
from expectations.results import Outcome, SuiteResult

# Pages kept for each suite: enough to see a trend; each one makes the index slower to write.
RUNS_KEPT = 5
NOTHING_TO_CHECK = "nothing_to_check"


def write(dsn: str, run_id: str, results: Sequence[SuiteResult], cut_id: int | None = None) -> int:
    """Add the results of a run to the warehouse, in one transaction; gives the number of rows.

    An empty increment leaves one row that says so.
    """
    import psycopg

    rows = [
        (run_id, cut_id, cut_id, result.entity, result.suite, *_columns(outcome), result.checked_at)
        for result in results
        for outcome in (result.outcomes or (_nothing(),))
    ]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into control.quality_results (run_id, cut_id, tick, entity, suite, expectation,"
            " column_name, severity, success, evaluated_rows, unexpected_rows, details, checked_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            rows,
        )
    return len(rows)


def write_docs(home: Path, run_id: str, results: Sequence[SuiteResult]) -> Path:
    """Add a run to the data docs below `home`/quality; gives the page to open."""
    settings.quieten()
    import great_expectations as gx
    from great_expectations.core import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    folder = home / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    context = gx.get_context(mode="file", project_root_dir=folder)
    _forget_old_runs(folder)
    pages: list[Any] = []
    for result in results:
        if result.document is None:
            continue
        suite = ExpectationSuiteIdentifier(name=result.suite)
        run = RunIdentifier(run_name=run_id, run_time=result.checked_at)
        page = ValidationResultIdentifier(suite, run, result.entity)
        context.validation_results_store.set(page, _validation(result))
        pages.append(page)
    if pages or not index(home).exists():
        context.build_data_docs(resource_identifiers=pages)
    return index(home)


def index(home: Path) -> Path:
    """The first page of the data docs."""
    return _uncommitted(home / "quality") / "data_docs" / "local_site" / "index.html"


def _columns(outcome: Outcome) -> tuple[Any, ...]:
    details = {
        "type": outcome.type,
        "unexpected_percent": round(outcome.unexpected_percent, 4),
        "sample": list(outcome.sample),
        "why": outcome.why,
        "error": outcome.error,
    }
    return (
        outcome.name,
        outcome.column,
        outcome.severity,
        outcome.success,
        outcome.evaluated,
        outcome.unexpected,
        json.dumps({name: value for name, value in details.items() if value}),
    )


def _nothing() -> Outcome:
    return Outcome(NOTHING_TO_CHECK, "none", None, "warning", True, 0, 0)


def _validation(result: SuiteResult) -> Any:
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    document = dict(result.document or {})
    found = []
    for one in document["results"]:
        config = ExpectationConfiguration(**_known(one["expectation_config"]))
        found.append(
            ExpectationValidationResult(
                success=one["success"],
                expectation_config=config,
                result=one["result"],
                exception_info=one["exception_info"],
            )
        )
    return ExpectationSuiteValidationResult(
        success=bool(document["success"]),
        results=found,
        suite_name=result.suite,
        statistics=document["statistics"],
        meta=document["meta"],
    )


def _known(config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in ("type", "kwargs", "meta", "severity") if name in config}


def _uncommitted(folder: Path) -> Path:
    return folder / "gx" / "uncommitted"


def _forget_old_runs(folder: Path) -> None:
    """Keep the newest runs of each suite, in the store and on the site."""
    places = (
        _uncommitted(folder) / "validations",
        _uncommitted(folder) / "data_docs" / "local_site" / "validations",
    )
    for place in places:
        runs = sorted(
            {path.parent.parent for path in place.rglob("*") if path.is_file()},
            key=lambda run: run.stat().st_mtime,
            reverse=True,
        )
        kept: dict[Path, int] = {}
        for run in runs:
            kept[run.parent] = kept.get(run.parent, 0) + 1
            if kept[run.parent] > RUNS_KEPT - 1:
                shutil.rmtree(run)
