"""Which rules a table must keep: those of its contract, then the business truths of its YAML file.

Pure and without Great Expectations, so that the asset graph can name every check cheaply. Rules
that come from a contract carry the names that quarantine gives its reasons: `<column>.<fact>`, or
the name of the contract's check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from schemas import contract as contracts
from schemas.contract import Column, Contract

FOLDER = Path(__file__).parent
SEVERITIES = ("error", "warning")
UUID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# The frame gets one true-or-false column for each condition, named after its rule.
CONDITION = "check."


class SuiteError(ValueError):
    """A suite file that does not say what it must; the message names file and rule."""


@dataclass(frozen=True)
class Rule:
    """One expectation: `type` and `kwargs` are Great Expectations' own.

    A condition (`expect`, and `when` it applies) is SQL over one row; a null result passes.
    """

    name: str
    type: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    severity: str = "error"
    expect: str | None = None
    when: str = "true"
    why: str = ""

    @property
    def column(self) -> str | None:
        """The column it judges; none for a condition or a rule about the whole table."""
        return None if self.expect else self.kwargs.get("column")


@dataclass(frozen=True)
class GoldSuite:
    """The business truths of one mart."""

    mart: str
    relation: str
    key: tuple[str, ...]
    rules: tuple[Rule, ...]


def rules(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of a silver table; names are unique."""
    found = (*from_contract(contract), *_read(FOLDER / "silver" / f"{contract.entity}.yaml")[1])
    names = [rule.name for rule in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SuiteError(f"{contract.entity}: rules named twice: {', '.join(sorted(twice))}")
    return found


def from_contract(contract: Contract) -> Iterator[Rule]:
    """What the contract says of a row, as rules."""
    internal = [c.name for c in contract.columns if c.classification == "internal"]
    yield Rule(
        "columns.present",
        "expect_table_columns_to_match_set",
        {"column_set": internal, "exact_match": False},
    )
    yield unique(contract.key)
    for column in contract.columns:
        yield from _of_column(column)
    for check in contract.checks:
        yield condition(check.name, check.expect, check.when, check.severity)


@cache
def gold() -> tuple[GoldSuite, ...]:
    """The suites of the marts, ordered by mart."""
    suites = []
    for path in sorted((FOLDER / "gold").glob("*.yaml")):
        head, found = _read(path)
        suites.append(GoldSuite(path.stem, head["relation"], tuple(head["key"]), found))
    return tuple(suites)


def names(entity: str) -> tuple[str, ...]:
    """The names of an entity's rules, in the order they are reported."""
    return tuple(rule.name for rule in rules(contracts.load(entity)))


def condition(
    name: str, expect: str, when: str = "true", severity: str = "error", why: str = ""
) -> Rule:
    """A rule about one row: wherever `when` holds, `expect` must."""
    kwargs = {"column": f"{CONDITION}{name}", "value_set": [True]}
    return Rule(name, "expect_column_values_to_be_in_set", kwargs, severity, expect, when, why)


def unique(key: tuple[str, ...]) -> Rule:
    """No two rows with the same key."""
    if len(key) == 1:
        return Rule("key.unique", "expect_column_values_to_be_unique", {"column": key[0]})
    return Rule("key.unique", "expect_compound_columns_to_be_unique", {"column_list": list(key)})


def _of_column(column: Column) -> Iterator[Rule]:
    at: dict[str, Any] = {"column": column.name}
    if column.required:
        yield Rule(f"{column.name}.required", "expect_column_values_to_not_be_null", at)
    if column.allowed:
        kwargs = {**at, "value_set": list(column.allowed)}
        yield Rule(f"{column.name}.code", "expect_column_values_to_be_in_set", kwargs)
    if column.minimum is not None:
        bounds = {**at, "min_value": column.minimum}
        yield Rule(f"{column.name}.minimum", "expect_column_values_to_be_between", bounds)
    if column.pattern is not None:
        kwargs = {**at, "regex": column.pattern}
        yield Rule(f"{column.name}.pattern", "expect_column_values_to_match_regex", kwargs)
    if column.type == "uuid":
        kwargs = {**at, "regex": UUID}
        yield Rule(f"{column.name}.type", "expect_column_values_to_match_regex", kwargs)
    if column.type == "json":
        yield Rule(f"{column.name}.type", "expect_column_values_to_be_json_parseable", at)


def _read(path: Path) -> tuple[dict[str, Any], tuple[Rule, ...]]:
    head = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return head, tuple(_rule(raw) for raw in head.pop("rules"))
    except (KeyError, TypeError, AttributeError, SuiteError) as error:
        raise SuiteError(f"{path.name}: {error!s}") from error


def _rule(raw: Mapping[str, Any]) -> Rule:
    severity = raw["severity"]
    if severity not in SEVERITIES:
        raise SuiteError(f"rule {raw['name']}: severity is {severity!r}, not error or warning")
    why = raw.get("why", "")
    if "expect" in raw:
        return condition(raw["name"], raw["expect"], raw.get("when", "true"), severity, why)
    return Rule(raw["name"], raw["type"], raw["kwargs"], severity, why=why)
