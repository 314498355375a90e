"""Run a table's suite on what changed, or the marts' suites on what was built.

Great Expectations validates; conditions are worked out beforehand into true-or-false columns. Only
the increment is read, so the cost follows the changes and not the table. Checking again changes
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from expectations import catalog, conditions, frames, masking, settings, suites
from expectations.catalog import Rule
from expectations.results import Outcome, SuiteResult
from schemas import contract as contracts

if TYPE_CHECKING:
    import pyarrow as pa

# A mart of more rows is checked on its first ones; silver increments are bounded by their tick.
GOLD_ROWS_MAX = 200_000
SAMPLE_ROWS = 5
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Subject:
    """What is judged: rows, by what they are keyed, and which columns nobody may see."""

    suite: str
    entity: str
    frame: pd.DataFrame
    key: tuple[str, ...]
    hidden: frozenset[str] = frozenset()


def check(entity: str, table: pa.Table | pd.DataFrame) -> SuiteResult:
    """The verdict on an increment of silver `entity`; deleted rows are not judged.

    Columns of personal data may be absent; any other missing column fails `columns.present`.
    """
    contract = contracts.load(entity)
    hidden = frozenset(c.name for c in contract.columns if c.classification != "internal")
    frame = frames.live_rows(table)
    subject = Subject(f"silver.{entity}", entity, frame, contract.key, hidden)
    return _judged(subject, catalog.rules(contract))


def check_gold(dsn: str, marts: Collection[str] | None = None) -> list[SuiteResult]:
    """The verdict on each mart that has a suite (or on those named); an empty mart passes."""
    import psycopg

    found = []
    with psycopg.connect(dsn) as connection:
        for suite in catalog.gold():
            if marts is not None and suite.mart not in marts:
                continue
            # The relation is a literal of our own YAML, never input.
            query = f"select * from {suite.relation} limit {GOLD_ROWS_MAX}"  # noqa: S608
            cursor = connection.execute(query)
            columns = [column.name for column in cursor.description or ()]
            frame = pd.DataFrame(cursor.fetchall(), columns=columns, dtype=object)
            subject = Subject(f"gold.{suite.mart}", suite.mart, frame, suite.key)
            found.append(_judged(subject, (catalog.unique(suite.key), *suite.rules)))
    return found


def _judged(subject: Subject, rules: Sequence[Rule]) -> SuiteResult:
    now = datetime.now(UTC)
    rows = len(subject.frame)
    if not rows:
        return SuiteResult(subject.suite, subject.entity, 0, (), now)
    runnable = [rule for rule in rules if _reads(rule) <= set(subject.frame.columns)]
    judged, unread = _with_conditions(subject.frame, runnable)
    subject = replace(subject, frame=judged)
    validation = _validate(subject, [rule for rule in runnable if rule.name not in unread])
    by_name = {r["expectation_config"]["meta"]["name"]: r for r in validation["results"]}
    outcomes = tuple(
        Outcome(rule.name, rule.type, None, rule.severity, False, rows, 0, error=unread[rule.name])
        if rule.name in unread
        else _outcome(rule, by_name[rule.name], subject)
        for rule in runnable
    )
    if not outcomes:
        raise RuntimeError(f"{subject.suite}: {rows} rows and not one rule was evaluated")
    document = masking.document(validation, subject.hidden)
    return SuiteResult(subject.suite, subject.entity, rows, outcomes, now, document)


def _reads(rule: Rule) -> set[str]:
    if rule.expect is not None:
        return set(conditions.columns(rule.expect, rule.when))
    named = {rule.kwargs["column"]} if "column" in rule.kwargs else set()
    return named | set(rule.kwargs.get("column_list", ()))


def _with_conditions(
    frame: pd.DataFrame, rules: Sequence[Rule]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The frame with a column for each condition, and why some could not be worked out."""
    worked_out, unread = {}, {}
    for rule in rules:
        if rule.expect is None:
            continue
        try:
            failed = conditions.broken(frame, rule.expect, rule.when)
            worked_out[f"{catalog.CONDITION}{rule.name}"] = ~failed
        except (conditions.ConditionError, TypeError, ValueError, ArithmeticError) as error:
            unread[rule.name] = f"{type(error).__name__}: {error}"
    return pd.concat([frame, pd.DataFrame(worked_out, index=frame.index)], axis=1), unread


def _validate(subject: Subject, rules: Sequence[Rule]) -> dict[str, Any]:
    with _ONE_AT_A_TIME:
        batch = _batch_definition().get_batch({"dataframe": subject.frame})
        validation = batch.validate(suites.build(subject.suite, rules), result_format="BASIC")
    document: dict[str, Any] = validation.to_json_dict()
    return document


@cache
def _batch_definition() -> Any:
    settings.quieten()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("increment").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all")


def _outcome(rule: Rule, result: dict[str, Any], subject: Subject) -> Outcome:
    found = result["result"]
    sample: tuple[dict[str, Any], ...] = ()
    if not result["success"]:
        sample = _sample(rule, found.get("partial_unexpected_list") or [], subject)
    return Outcome(
        name=rule.name,
        type=rule.type,
        column=rule.column,
        severity=rule.severity,
        success=bool(result["success"]),
        evaluated=int(found.get("element_count") or len(subject.frame)),
        unexpected=int(found.get("unexpected_count") or 0),
        sample=sample,
        why=rule.why or (rule.expect or ""),
        error=_exception(result.get("exception_info") or {}),
    )


def _sample(rule: Rule, values: list[Any], subject: Subject) -> tuple[dict[str, Any], ...]:
    """A few broken rows: their key and the columns the rule reads."""
    frame, key = subject.frame, subject.key
    if rule.expect is not None:
        broken = frame[~frame[f"{catalog.CONDITION}{rule.name}"]]
    elif rule.type == "expect_column_values_to_not_be_null":
        broken = frame[frame[rule.kwargs["column"]].isna()]
    elif rule.column is not None:
        broken = frame[frame[rule.column].isin(values)]
    elif "column_list" in rule.kwargs:
        broken = frame[frame.duplicated(list(rule.kwargs["column_list"]), keep=False)]
    else:
        return ()
    shown = [c for c in (*key, *sorted(_reads(rule) - set(key))) if c in frame.columns]
    rows = broken[shown].head(SAMPLE_ROWS).to_dict("records")
    return tuple(masking.row(row, subject.hidden) for row in rows)


def _exception(info: dict[str, Any]) -> str | None:
    """Why the library could not evaluate a rule; it reports that flat or per metric."""
    places = [info, *(value for value in info.values() if isinstance(value, dict))]
    for place in places:
        if place.get("raised_exception"):
            return str(place.get("exception_message") or "no message")
    return None
