"""A tick on real services: whatever happens to the source, silver and gold equal it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from millrace.stack import Stack
from orchestration import lineage_graph
from orchestration.run import RefreshResult, refresh
from schemas import contract
from tests.beside import beside
from tests.conftest import temporary_stack

pytestmark = pytest.mark.stack

PRINCIPAL_MINOR = 8_000


class Source:
    """The operational database, as its administrator."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def run(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def customer(self) -> UUID:
        customer_id = uuid4()
        self.run(
            "insert into customer.customers (customer_id, country) values (%s, 'DE')",
            customer_id,
        )
        return customer_id

    def credit(
        self, customer_id: UUID, installments: int = 1, excess_minor: int = 0
    ) -> tuple[UUID, list[UUID]]:
        """A credit with its schedule, in one transaction; the instalments repay its principal."""
        credit_id, payment_ids = uuid4(), [uuid4() for _ in range(installments)]
        principal_minor = PRINCIPAL_MINOR * max(installments, 1)
        outstanding_minor = principal_minor + excess_minor
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "insert into credit.active_credits (credit_id, customer_id, credit_number,"
                " principal_minor, outstanding_principal_minor, currency, interest_rate,"
                " term_months, monthly_payment_minor, status, disbursed_on, matures_on)"
                " values (%s, %s, %s, %s, %s, 'EUR', 0.07, 12, 9000, 'CURRENT', '2026-01-01',"
                " '2027-01-01')",
                (credit_id, customer_id, f"C-{credit_id}", principal_minor, outstanding_minor),
            )
            connection.cursor().executemany(
                "insert into credit.payments (payment_id, credit_id, installment_number, due_date,"
                " due_amount_minor, principal_minor, interest_minor, currency)"
                " values (%s, %s, %s, '2026-02-01', %s, %s, %s, 'EUR')",
                [
                    (payment_id, credit_id, number, PRINCIPAL_MINOR + 1_000, PRINCIPAL_MINOR, 1_000)
                    for number, payment_id in enumerate(payment_ids, 1)
                ],
            )
        return credit_id, payment_ids


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: what other tests leave behind would not add up."""
    yield from temporary_stack(("postgres", "redis", "kafka", "registry", "connect"))


@pytest.fixture
def source(stack_env: dict[str, str]) -> Source:
    return Source(stack_env["MILLRACE_OLTP_ADMIN_DSN"])


@pytest.fixture
def warehouse(stack_env: dict[str, str]) -> Source:
    return Source(stack_env["MILLRACE_WAREHOUSE_DSN"])


@contextmanager
def traffic(source: Source) -> Iterator[None]:
    """Credits are disbursed one after the other, each with its schedule, until the block ends."""
    customer_id = source.customer()

    def disburse() -> None:
        source.credit(customer_id)

    with beside(disburse, every_s=0.02):
        yield


def differences(result: RefreshResult) -> list[str]:
    return [*result.errors, *(str(f) for f in result.tie_out if not f.is_exact)]


def live_payments(warehouse: Source, table: str = "silver.payments") -> dict[UUID, int]:
    alive = "not _is_deleted" if table.startswith("silver") else "true"
    query = f"select payment_id, paid_amount_minor from {table} where {alive}"
    return dict(warehouse.run(query))


def behind(warehouse: Source) -> dict[str, str]:
    """Published tables that do not show the newest cut, and why."""
    return dict(
        warehouse.run("select entity, held_back_by from control.shown_cuts where not is_newest")
    )


def test_silver_and_gold_equal_the_source_whatever_happened_to_it(
    stack: Stack, source: Source, warehouse: Source
) -> None:
    credit_id, (paid, moved, gone) = source.credit(source.customer(), installments=3)
    leaver = source.customer()
    first = refresh()
    assert differences(first) == []
    assert first.success
    assert behind(warehouse) == {}
    reached = dict(warehouse.run("select entity, cut_id from control.silver_cuts"))
    assert reached == dict.fromkeys((c.entity for c in contract.load_all()), first.cut_id)
    marts = warehouse.run("select cut_id, is_one_cut, is_newest from gold_credit.mart_completeness")
    assert set(marts) == {(first.cut_id, True, True)}
    assert {paid, moved, gone} <= live_payments(warehouse).keys()

    new_key, never = uuid4(), uuid4()
    source.run(
        "update credit.payments set paid_amount_minor = 10, status = 'PARTIAL'"
        " where payment_id = %s",
        paid,
    )
    source.run("update credit.payments set payment_id = %s where payment_id = %s", new_key, moved)
    source.run("delete from credit.payments where payment_id = %s", gone)
    source.run(
        "update credit.active_credits set principal_minor = %s, outstanding_principal_minor = %s"
        " where credit_id = %s",
        *(2 * PRINCIPAL_MINOR, 2 * PRINCIPAL_MINOR, credit_id),
    )
    source.run("delete from customer.customers where customer_id = %s", leaver)
    with psycopg.connect(source.dsn) as connection:
        connection.execute(
            "insert into customer.customers (customer_id, country) values (%s, 'DE')",
            (never,),
        )
        connection.rollback()
    _, (added,) = source.credit(source.customer())
    with traffic(source):
        second = refresh()

    assert differences(second) == []
    assert second.is_exact
    for table in ("silver.payments", "gold_credit.fct_payments"):
        payments = live_payments(warehouse, table)
        assert payments[paid] == 10
        assert {new_key, added} <= payments.keys()
        assert not {moved, gone} & payments.keys()
    customers = dict(warehouse.run("select customer_id, _is_deleted from silver.customers"))
    assert customers[leaver] is True
    assert never not in customers

    third = refresh()
    assert differences(third) == []
    now = dict(source.run("select payment_id, paid_amount_minor from credit.payments"))
    assert live_payments(warehouse) == now
    assert live_payments(warehouse, "gold_credit.fct_payments") == now


def test_bad_rows_are_kept_apart_and_a_critical_check_holds_back_its_own_table_only(
    stack: Stack, source: Source, warehouse: Source
) -> None:
    customer_id = source.customer()
    name = source.run(
        "select conname from pg_constraint where conrelid = 'credit.active_credits'::regclass"
        " and contype = 'c' and pg_get_constraintdef(oid) like '%%outstanding%%'"
    )[0][0]
    source.run(f"alter table credit.active_credits drop constraint {name}")
    broken, _ = source.credit(customer_id, installments=0, excess_minor=1)
    sound, (suspicious,) = source.credit(customer_id)
    source.run(  # SCHEDULED, and yet something is paid
        "update credit.payments set paid_amount_minor = 5 where payment_id = %s", suspicious
    )

    result = refresh()

    credits = dict(warehouse.run("select credit_id, _is_deleted from silver.active_credits"))
    assert sound in credits
    assert broken not in credits
    assert "outstanding_within_principal" in quarantine_rules(stack, "active_credits")
    ties = {c.name: c for c in result.checks if c.asset == "control/tie_outs"}
    assert not ties["active_credits_ties_out"].passed
    assert ties["active_credits_ties_out"].severity == "WARN"  # quarantine explains it
    held = [c for c in result.checks if c.name == "is_published" and not c.passed]
    assert [c.asset for c in held] == ["warehouse/payments"]
    failed = {(c.asset, c.name) for c in result.failed_checks}
    assert ("silver/payments", "scheduled_is_unpaid") in failed
    assert suspicious not in live_payments(warehouse)
    assert behind(warehouse) == {"payments": "scheduled_is_unpaid"}
    assert not result.success
    assert "payments" in "\n".join(result.errors)

    source.run(
        "update credit.active_credits set outstanding_principal_minor = 1 where credit_id = %s",
        broken,
    )
    source.run("update credit.payments set status = 'PARTIAL' where payment_id = %s", suspicious)
    source.run(
        f"alter table credit.active_credits add constraint {name}"
        " check (outstanding_principal_minor between 0 and principal_minor)"
    )
    mended = refresh()
    assert differences(mended) == []
    assert mended.is_exact
    assert suspicious in live_payments(warehouse)
    assert behind(warehouse) == {}


def test_a_gold_column_leads_back_to_the_operational_database(stack: Stack) -> None:
    graph = lineage_graph.read(Path(stack.env["MILLRACE_HOME"]) / "lineage" / "events.jsonl")
    origin = graph.way_back("gold_credit.fct_payments.due_amount_minor")
    names = set()
    waiting = [origin]
    while waiting:
        at = waiting.pop()
        names.add(at.dataset.name)
        waiting.extend(at.sources)
    assert {"warehouse.silver.payments", "oltp.credit.payments"} <= names
    assert any(name.endswith("silver/payments/current") for name in names)


def quarantine_rules(stack: Stack, entity: str) -> set[str]:
    import pyarrow.dataset as ds

    folder = Path(stack.env["MILLRACE_LAKE"]) / "quarantine" / f"entity={entity}"
    rows = ds.dataset(folder, format="parquet").to_table(columns=["reasons"]).to_pylist()
    return {reason["rule"] for row in rows for reason in row["reasons"]}
