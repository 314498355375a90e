"""Read models of a cut on real services, while customers go on applying."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from millrace.stack import Stack
from pipelines import bronze, delta, lake, refresh
from pipelines import cut as cuts
from pipelines.projections import runner
from pipelines.projections.runner import STATES, TIMELINE, Built
from pipelines.registry import WriterSchemas
from schemas import contract as contracts
from tests.integration.applying import (
    CASE_VIEW,
    ONE_CASE,
    applying,
    case_rows,
    submit_and_decide,
    told_ends,
)

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.long]


def tick(stack: Stack, spark: Any, folder: Path) -> dict[str, Built]:
    """Cut, bronze, silver of what read models need, read models."""
    admin, schemas = (
        stack.env["MILLRACE_OLTP_ADMIN_DSN"],
        WriterSchemas(stack.env["MILLRACE_REGISTRY"]),
    )
    cut = cuts.take(admin)
    cuts.wait_for_capture(admin, cut, 120)
    bronze.ingest(spark, folder, stack.env["MILLRACE_KAFKA"])
    entities = [contracts.load(entity) for entity in runner.INPUTS]
    refresh.build_all(spark, folder, entities, cut, schemas)
    return {built.name: built for built in runner.build(spark, folder, cut, schemas)}


def test_they_are_those_of_the_cut_while_customers_go_on_applying(
    stack: Stack, spark: Any, tmp_path: Path
) -> None:
    dsn, customer = stack.env["MILLRACE_OLTP_ADMIN_DSN"], uuid4()

    def silver() -> dict[str, str]:
        table = delta.read(spark, lake.current(tmp_path, contracts.load("applications")))
        rows = table.where(f"not _is_deleted and customer_id = '{customer}'")
        return dict(rows.select("application_id", "status").collect())

    with psycopg.connect(dsn, autocommit=True) as source:
        source.execute("insert into customer.customers (customer_id, country) values (%s, 'DE')",
                       (customer,))  # fmt: skip
        source.execute(ONE_CASE)
        for way in range(3):
            submit_and_decide(source, customer, way)
        with applying(dsn, customer):
            amid = tick(stack, spark, tmp_path)
        told, rows = told_ends(tmp_path), silver()
        assert set(rows.values()) == {"SUBMITTED", "APPROVED", "WITHDRAWN"}
        # As they were at the cut, not as they are.
        assert {id_: told.get(id_) for id_ in rows} == rows
        now = dict(source.execute("select application_id::text, status from credit.applications"
                                  " where customer_id = %s", (customer,)).fetchall())  # fmt: skip
        assert not told.keys() & (now.keys() - rows.keys())
        assert amid[TIMELINE].waiting > 0
        assert (amid[TIMELINE].unreadable, amid[STATES].differing) == (0, 0)
        wanted = source.execute(CASE_VIEW).fetchall()
        assert sorted(case_rows(tmp_path), key=str) == sorted(wanted, key=str)
        # Somebody changes a row and announces nothing.
        source.execute(
            "update credit.applications set status = 'DECLINED', decision_reason = 'DTI'"
            " where application_id = (select min(application_id::text)::uuid from"
            " credit.applications where customer_id = %s and status = 'APPROVED')",
            (customer,),
        )
        after = tick(stack, spark, tmp_path)
        assert (after[TIMELINE].waiting, after[STATES].differing) == (0, 1)
        told, rows = told_ends(tmp_path), silver()
        assert now.keys() <= rows.keys() <= told.keys()
        assert [told[id_] for id_ in rows if told[id_] != rows[id_]] == ["APPROVED"]
