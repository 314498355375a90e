"""Quarantine's way back on real services: broken, patched, explained, mended at its source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from millrace import cli, current
from millrace.stack import Stack
from orchestration import whole
from orchestration.run import RefreshResult, refresh
from orchestration.settings import Settings
from pipelines import quarantined
from pipelines.quarantined import Wanted
from pipelines.registry import WriterSchemas
from schemas import contract as contracts
from tests.conftest import temporary_stack

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.long]
CERTIFICATE = "control/certificates"
CHECK = """
select conname, pg_get_constraintdef(oid) from pg_constraint
where conrelid = 'credit.active_credits'::regclass and contype = 'c'
    and pg_get_constraintdef(oid) like '%%outstanding%%'
"""
CREDIT = """
insert into credit.active_credits (credit_id, customer_id, credit_number, principal_minor,
    outstanding_principal_minor, currency, interest_rate, term_months, monthly_payment_minor,
    status, disbursed_on, matures_on)
values (%s, %s, %s, 8000, %s, 'EUR', 0.07, 12, 9000, 'CURRENT', '2026-01-01', '2027-01-01')
"""
SHOWN = """
select credit_id, outstanding_principal_minor from silver.active_credits where not _is_deleted
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: its books must add up."""
    yield from temporary_stack(("postgres", "redis", "kafka", "registry", "connect"))


def run(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def verdict(result: RefreshResult) -> tuple[bool, str]:
    found = [c for c in result.checks if c.name == "active_credits_ties_out"]
    assert found, result.errors
    (check,) = found
    return check.passed, check.severity


def unlawful(result: RefreshResult, spark: Any) -> list[str]:
    """What the certificate finds, in the tick's window and in the whole table."""
    settings = Settings()
    told = str(getattr(breaks := result.metadata[CERTIFICATE]["breaks"], "value", breaks))
    table = [contracts.load("active_credits")]
    whole_table = whole.certify(settings, spark, WriterSchemas(settings.registry), table)
    found = [str(one) for one in whole_table.breaks if not one.is_lawful]
    return found + ([] if told == "none" else [told])


def test_a_broken_row_is_fixed_released_and_applied_and_the_sources_own_correction_wins(
    spark: Any, stack: Stack, stack_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
    monkeypatch.setenv("COLUMNS", "200")
    admin, warehouse = stack_env["MILLRACE_OLTP_ADMIN_DSN"], stack_env["MILLRACE_WAREHOUSE_DSN"]
    lake = Path(stack_env["MILLRACE_LAKE"])

    def quarantine(*words: str) -> str:
        told = CliRunner().invoke(cli.app, ["quarantine", *words])
        assert told.exit_code == 0, told.output
        return told.output

    def published() -> dict[UUID, int]:
        return dict(run(warehouse, SHOWN))

    customer, credit = uuid4(), uuid4()
    run(admin, "insert into customer.customers (customer_id, country) values (%s, 'DE')", customer)
    ((name, definition),) = run(admin, CHECK)
    run(admin, f"alter table credit.active_credits drop constraint {name}")
    run(admin, CREDIT, credit, customer, f"C-{credit}", 8001)
    first = refresh()
    assert verdict(first) == (False, "WARN"), first.errors
    assert credit not in published()
    assert unlawful(first, spark) == []
    (held,) = quarantined.find(lake, Wanted("active_credits"))
    assert held.rules == ("outstanding_within_principal",)

    patch = json.dumps({"outstanding_principal_minor": 8000})
    quarantine("fix", held.name, "--patch", patch, "--why", "typing error", "--by", "ada")
    quarantine("release", "--rule", "outstanding_within_principal", "--why", "go", "--by", "ada")
    second = refresh()
    (applied,) = quarantined.find(lake, Wanted("active_credits"))
    assert applied.state == "applied", second.errors
    # On purpose not what the source says: told as explained, until the source says the same.
    assert verdict(second) == (False, "WARN"), second.errors
    assert published()[credit] == 8000, second.errors
    # A person's word, kept with its reason: the certificate explains it.
    assert unlawful(second, spark) == []

    run(admin, "update credit.active_credits set outstanding_principal_minor = 7000"
               " where credit_id = %s", credit)  # fmt: skip
    run(admin, f"alter table credit.active_credits add constraint {name} {definition}")
    third = refresh()
    assert verdict(third)[0], third.errors
    assert third.is_exact
    assert published()[credit] == 7000
    assert unlawful(third, spark) == []
    assert "by build: applied at tick" in quarantine("show", held.name)
    print(f"held at {held.name}, applied, superseded by the source's own correction")
