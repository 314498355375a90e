"""What dbt says twice is held to the contracts: sources, money columns, staging, owners."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import codes, contract

DBT = Path(__file__).parent.parent.parent / "dbt"
CONTRACTS = contract.load_published()
MODELS = sorted(p for p in (DBT / "models").rglob("*.yml") if not p.name.startswith("_"))


def source_tables() -> dict[str, list[str]]:
    text = (DBT / "models/staging/_silver__sources.yml").read_text()
    (silver,) = yaml.safe_load(text)["sources"]
    return {table["name"]: [c["name"] for c in table["columns"]] for table in silver["tables"]}


@pytest.mark.parametrize("c", CONTRACTS, ids=lambda c: c.entity)
def test_a_source_has_the_columns_its_contract_lets_out(c: contract.Contract) -> None:
    public = [column.name for column in c.columns if column.classification == "internal"]
    assert source_tables()[c.entity] == [*public, "_is_deleted"]


def test_no_model_reads_personal_data() -> None:
    hidden = {
        column.name
        for c in CONTRACTS
        for column in c.columns
        if column.classification != "internal"
    }
    for path in (DBT / "models").rglob("*.sql"):
        assert not hidden & set(re.findall(r"\w+", path.read_text())), path.name


def test_the_tie_out_sums_every_money_column_of_every_contract() -> None:
    text = (DBT / "models/marts/credit/mart_tie_out.sql").read_text()
    listed = re.search(r"\{% set money = (\{.*?\}) %\}", text, re.S)
    assert listed
    assert yaml.safe_load(listed[1]) == {c.entity: list(c.money) for c in CONTRACTS}


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_a_model_says_its_grain_and_its_owner(path: Path) -> None:
    (model,) = yaml.safe_load(path.read_text())["models"]
    assert model["name"] == path.stem == path.with_suffix(".sql").stem
    assert "Grain: " in model["description"]
    assert model["config"]["meta"]["owner"]


def test_staging_is_the_only_reader_of_sources() -> None:
    readers = {
        p.parent.name for p in (DBT / "models").rglob("*.sql") if "source('" in p.read_text()
    }
    assert readers == {"staging"}


def accepted(model: dict[str, Any], column: str) -> set[str]:
    found = next(c for c in model["columns"] if c["name"] == column)
    (test,) = [t for t in found["data_tests"] if isinstance(t, dict) and "accepted_values" in t]
    return set(test["accepted_values"]["arguments"]["values"])


def test_buckets_are_the_same_in_macro_models_and_tests() -> None:
    macro = (DBT / "macros/dpd_bucket.sql").read_text()
    from_macro = set(re.findall(r"(?:then|else) '([^']+)'", macro))
    summary = (DBT / "models/marts/credit/mart_delinquency_buckets.sql").read_text()
    listed = set(re.findall(r"\(\d+, '([^']+)'\)", summary))
    assert listed == from_macro | {"charged_off", "paid_off", "restructured", "not_observed"}
    for name in ("mart_delinquency_credits", "mart_delinquency_buckets"):
        (model,) = yaml.safe_load((DBT / f"models/marts/credit/{name}.yml").read_text())["models"]
        assert accepted(model, "bucket") == listed


@pytest.mark.parametrize(
    ("name", "column", "code"),
    [
        ("fct_authorizations", "decision", "decision"),
        ("fct_authorizations", "message_kind", "message_kind"),
        ("fct_authorizations", "hold_status", "hold_status"),
        ("fct_payments", "payment_status", "payment_status"),
    ],
)
def test_accepted_codes_are_all_codes_there_are(name: str, column: str, code: str) -> None:
    (model,) = yaml.safe_load((DBT / f"models/marts/credit/{name}.yml").read_text())["models"]
    assert accepted(model, column) == {member.value for member in codes.BY_NAME[code]}
