"""The case projection is the operational view, column by column, whatever happened to the cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row

from oltp.simulator import seed
from pipelines import delta, lake
from pipelines.projections import case, rates, runner, waits
from pipelines.projections.columns import COLUMNS
from pipelines.visibility import Cut
from tests.oltp.conftest import migrate
from tests.oltp.lives import VAULT
from tests.pipelines.projections import silver_of

pytestmark = pytest.mark.spark
NOW = datetime(2026, 11, 30, tzinfo=UTC)
INPUTS = tuple(sorted({*case.INPUTS, *waits.INPUTS, *rates.INPUTS}))
# What the made-up lives seldom do.
LIFE = """
update kyc.checklist_items set status = 'SKIPPED', notes = 'not needed', completed_at = null
    where position = 2 and hashtext(checklist_item_id::text) % 3 = 0;
update kyc.checklist_items set status = 'PENDING', completed_at = null
    where position > 3 and hashtext(checklist_item_id::text) % 2 = 0;
delete from kyc.checklist_items where hashtext(checklist_id::text) % 7 = 0;
delete from risk.risk_factors where hashtext(risk_assessment_id::text) % 5 = 0;
delete from customer.documents where hashtext(document_id::text) % 4 = 0;
update customer.documents set status = 'REJECTED', verified_at = null
    where hashtext(document_id::text) % 9 = 1;
update customer.addresses set is_primary = false where hashtext(address_id::text) % 6 = 0;
update kyc.aml_checks set status = 'FAILED' where hashtext(aml_check_id::text) % 11 = 0;
insert into kyc.partners (partner_id, name) values (gen_random_uuid(), 'Sends people');
insert into kyc.onboarding_cases (case_id, case_number, case_type, partner_id, partner_reference)
    select gen_random_uuid(), 'alone', 'TRUST', partner_id, 'x' from kyc.partners limit 1;
update kyc.onboarding_cases set assigned_to = 'm', assigned_to_name = 'M. Aalto',
    assigned_at = now(), compliance_notes = 'Ω "' where hashtext(case_id::text) % 3 = 1;
"""
LATER = """
update kyc.checklist_items set status = 'COMPLETED', completed_at = now(), completed_by = 'x'
    where status = 'PENDING';
delete from customer.documents where hashtext(document_id::text) % 4 = 2;
"""


@pytest.fixture(scope="module")
def dsn(postgres_only: Any) -> str:
    """A lender of its own, with some hundred rows."""
    admin = postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("create database projections template template0")
    made: str = urlsplit(admin)._replace(path="/projections").geturl()
    migrate(made)
    seed(made, customers=40, seed=7, today=NOW.date(), vault=VAULT)
    change(made, LIFE)
    return made


def change(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn) as connection:
        # What is written once is not changed by anybody but this test.
        connection.execute("set session_replication_role = replica")
        connection.execute(statements)


def of_view(dsn: str) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        rows = connection.execute("select * from kyc.onboarding_case_projection").fetchall()
    return sorted(({k: silver_of.plain(v) for k, v in r.items()} for r in rows), key=of_case)


def of_case(row: dict[str, Any]) -> str:
    return str(row["case_id"])


def projected(spark: Any, folder: Any) -> list[dict[str, Any]]:
    table = delta.read(spark, lake.projection(folder, "onboarding_case_projection"))
    shown = table.selectExpr(
        *(f"unix_micros({n}) as {n}" if t == "timestamp" else n for n, t in table.dtypes)
    )
    return sorted((row.asDict() for row in shown.collect()), key=of_case)


def built(spark: Any, folder: Any, now: datetime) -> dict[str, int | None]:
    cut = Cut.from_snapshot(10**9, "1000:1000:", now)
    return {each.name: each.rows for each in runner.build(spark, folder, cut, {}.get)}


def test_the_projection_is_the_view_and_is_made_again_only_with_news(
    spark: Any, dsn: str, tmp_path: Any
) -> None:
    silver_of.write(spark, tmp_path, dsn, INPUTS, waits.INPUTS)
    first = built(spark, tmp_path, NOW)
    wanted, found = of_view(dsn), projected(spark, tmp_path)
    assert len(wanted) > 40
    assert list(found[0]) == list(wanted[0])
    assert len(wanted[0]) == 49
    assert found == wanted
    # The view has something to say in every column but those that the made-up lives leave empty.
    silent = {name for name in wanted[0] if len({row[name] for row in wanted}) == 1}
    assert silent <= {"partner_reference", "rejected_at", "requires_manual_review"}
    assert first["onboarding_case_projection"] == first["case_waits"] == len(wanted)
    assert (first["provider_rate_intervals"] or 0) > 5
    for name in set(COLUMNS) & set(first):
        if delta.exists(lake.projection(tmp_path, name)):
            table = delta.read(spark, lake.projection(tmp_path, name))
            assert table.columns == list(COLUMNS[name]), name
    # Nothing new: not one table is written. The moment goes on all the same.
    assert set(built(spark, tmp_path, NOW + timedelta(hours=1)).values()) == {None}
    through = runner.complete_through(tmp_path, "onboarding_case_projection")
    assert through == NOW + timedelta(hours=1)
    # News of one table: what is made of it is made again, nothing else.
    change(dsn, LATER)
    silver_of.write(spark, tmp_path, dsn, ("checklist_items", "documents"), ())
    again = built(spark, tmp_path, NOW + timedelta(hours=2))
    assert {name for name, rows in again.items() if rows is not None} == {
        "onboarding_case_projection"
    }
    assert projected(spark, tmp_path) == of_view(dsn)
