"""Which rules there are: from contracts and from the suites' files."""

from pathlib import Path

import pytest

from expectations import catalog, conditions, suites
from schemas import contract

CONTRACTS = contract.load_published()
SILVER = sorted((catalog.FOLDER / "silver").glob("*.yaml"))


def test_every_contract_has_a_suite_and_every_suite_a_contract() -> None:
    assert [path.stem for path in SILVER] == [c.entity for c in CONTRACTS]


@pytest.mark.parametrize("c", CONTRACTS, ids=lambda c: c.entity)
def test_every_fact_of_a_contract_is_a_rule(c: contract.Contract) -> None:
    names = set(catalog.names(c.entity))
    assert {f"{x.name}.required" for x in c.columns if x.required} <= names
    assert {f"{x.name}.code" for x in c.columns if x.allowed} <= names
    assert {f"{x.name}.minimum" for x in c.columns if x.minimum is not None} <= names
    assert {f"{x.name}.pattern" for x in c.columns if x.pattern} <= names
    assert {check.name for check in c.checks} | {"key.unique", "columns.present"} <= names


@pytest.mark.parametrize("c", CONTRACTS, ids=lambda c: c.entity)
def test_every_condition_reads_columns_that_its_table_has(c: contract.Contract) -> None:
    known = {column.name for column in c.columns}
    for rule in catalog.rules(c):
        if rule.expect:
            assert set(conditions.columns(rule.expect, rule.when)) <= known, rule.name


@pytest.mark.parametrize("path", SILVER, ids=lambda p: p.stem)
def test_a_suite_file_is_short_and_holds_business_truths_only(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    c = contract.load(path.stem)
    from_contract = {rule.name for rule in catalog.from_contract(c)}
    assert set(catalog.names(path.stem)) - from_contract, "says nothing that the contract does not"


def test_a_suite_is_made_of_the_librarys_own_configurations() -> None:
    (first, *_) = suites.to_suite(contract.load("payments"))
    assert first["type"] == "expect_table_columns_to_match_set"
    assert first["severity"] == "critical"
    assert first["meta"] == {"name": "columns.present"}


def test_gold_suites_read_gold_schemas() -> None:
    assert catalog.gold()
    assert all(suite.relation == f"{suite.relation.split('.')[0]}.{suite.mart}"
               and suite.relation.startswith("gold_") for suite in catalog.gold())  # fmt: skip


def test_an_unknown_severity_is_refused_by_name() -> None:
    with pytest.raises(catalog.SuiteError, match="rule too_late: severity is 'fatal'"):
        catalog._rule({"name": "too_late", "severity": "fatal", "expect": "true"})
