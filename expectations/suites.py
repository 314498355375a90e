"""A table's rules as Great Expectations' own objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from expectations import catalog
from expectations.catalog import Rule
from schemas.contract import Contract

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite

# A failed rule of the library's own `critical` is what a contract calls an error.
SEVERITY = {"error": "critical", "warning": "warning"}


def to_suite(contract: Contract) -> list[dict[str, Any]]:
    """The expectations of an entity: type, kwargs, severity, and the rule's name as meta."""
    return configurations(catalog.rules(contract))


def configurations(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Rules as expectation configurations, in their order."""
    return [
        {
            "type": rule.type,
            "kwargs": dict(rule.kwargs),
            "severity": SEVERITY[rule.severity],
            "meta": {"name": rule.name},
            "notes": _notes(rule),
        }
        for rule in rules
    ]


def build(name: str, rules: Iterable[Rule]) -> ExpectationSuite:
    """The suite called `name`, to validate a batch with."""
    from great_expectations.core import ExpectationSuite
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    expectations = [
        ExpectationConfiguration(**config).to_domain_obj() for config in configurations(rules)
    ]
    return ExpectationSuite(name=name, expectations=expectations)


def _notes(rule: Rule) -> str | None:
    if rule.expect is None:
        return rule.why or None
    when = "" if rule.when == "true" else f" when {rule.when}"
    return f"{rule.name}: {rule.expect}{when}. {rule.why}".strip()
