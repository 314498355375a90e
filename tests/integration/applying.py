"""Customers who apply and change their minds, and a case: rows, and events that announce them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from oltp import outbox
from pipelines import delta_log, lake
from tests.beside import beside

ONE_CASE = """
insert into kyc.partners (partner_id, name) values ('00000000-0000-4000-8000-0000000000a1', 'P');
insert into kyc.onboarding_cases (case_id, case_number, case_type, status, submitted_at, partner_id,
    compliance_notes) values ('00000000-0000-4000-8000-0000000000b1', 'N-1', 'TRUST',
    'PENDING_REVIEW', '2026-01-02 03:04:05.678901Z', '00000000-0000-4000-8000-0000000000a1', 'Ω');
insert into kyc.checklist_templates (checklist_template_id, case_type, version, valid_from)
    values ('00000000-0000-4000-8000-0000000000c1', 'TRUST', 77, '2026-01-01');
insert into kyc.checklists (checklist_id, case_id, checklist_template_id) values
    ('00000000-0000-4000-8000-0000000000d1', '00000000-0000-4000-8000-0000000000b1',
    '00000000-0000-4000-8000-0000000000c1');
insert into kyc.checklist_items (checklist_item_id, checklist_id, position, name, category,
    is_required, status, completed_at, completed_by)
    select gen_random_uuid(), '00000000-0000-4000-8000-0000000000d1', n, 'item ' || n, 'IDENTITY',
    n < 3, case n when 1 then 'COMPLETED' else 'PENDING' end, case n when 1 then now() end, 'x'
    from generate_series(1, 3) n;
insert into risk.risk_assessments (risk_assessment_id, case_id, status, risk_level, risk_score,
    model_version, completed_at) values ('00000000-0000-4000-8000-0000000000e1',
    '00000000-0000-4000-8000-0000000000b1', 'COMPLETED', 'MEDIUM', 33.35, 'm', now());
insert into risk.risk_factors (risk_factor_id, risk_assessment_id, factor_type, risk_level, score,
    weight) values (gen_random_uuid(), '00000000-0000-4000-8000-0000000000e1', 'PEP', 'LOW', 33.35,
    1);
insert into kyc.aml_checks (aml_check_id, case_id, check_type, status, provider, checked_at)
    values (gen_random_uuid(), '00000000-0000-4000-8000-0000000000b1', 'PEP', 'POTENTIAL_MATCH',
    'p', now());
"""


# What there is of the case in a column of each kind, as text that two databases write alike.
CASE_VIEW = """
select case_id::text, partner_name, status, checklist_required_completion_percent::text,
    progress_percent::text, total_steps, risk_score::text, risk_factor_count,
    has_compliance_issues, compliance_notes,
    (extract(epoch from submitted_at) * 1000000)::bigint
from kyc.onboarding_case_projection
"""


@contextmanager
def applying(dsn: str, customer: UUID) -> Iterator[None]:
    """Applications are made, decided and withdrawn until the block ends, one transaction each."""
    numbers = count(1)
    with psycopg.connect(dsn, autocommit=True) as connection:

        def apply() -> None:
            submit_and_decide(connection, customer, next(numbers) % 3)

        with beside(apply, every_s=0.02):
            yield


def submit_and_decide(connection: psycopg.Connection, customer: UUID, way: int) -> UUID:
    """One application: left open, approved, or approved and then taken back."""
    application, now = uuid4(), datetime.now(UTC)
    with connection.transaction():
        connection.execute(
            "insert into credit.applications (application_id, customer_id, application_number,"
            " requested_amount_minor, currency, term_months, purpose, status, submitted_at)"
            " values (%s, %s, %s, 100, 'USD', 12, 'car', 'SUBMITTED', %s)",
            (application, customer, str(application), now),
        )
        _announce(connection, "submitted", application, customer, requested_amount_minor=100,
                  currency="USD", term_months=12, purpose="car", submitted_at=now)  # fmt: skip
    steps = (("decided", "APPROVED"), ("withdrawn", "WITHDRAWN"))[:way]
    for what, status in steps:
        told = {"decision": status, "reasons": [], "rule_version": None}
        with connection.transaction():
            connection.execute(
                "update credit.applications set status = %s,"
                " decided_at = greatest(now(), submitted_at) where application_id = %s",
                (status, application),
            )
            more = told if what == "decided" else {"reason": None}
            _announce(connection, what, application, customer, **more)
    return application


def told_ends(folder: Path) -> dict[str, str]:
    """How applications ended, as the lake's events tell it."""
    rows = _rows(folder, "application_states")
    return {row["application_id"]: row["status"] for row in rows}


def case_rows(folder: Path) -> list[tuple[Any, ...]]:
    """The lake's cases in the columns of CASE_VIEW."""
    return [
        (
            row["case_id"], row["partner_name"], row["status"],
            str(row["checklist_required_completion_percent"]), str(row["progress_percent"]),
            row["total_steps"], str(row["risk_score"]), row["risk_factor_count"],
            row["has_compliance_issues"], row["compliance_notes"],
            round(row["submitted_at"].timestamp() * 1_000_000),
        )
        for row in _rows(folder, "onboarding_case_projection")
    ]  # fmt: skip


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    from pyarrow import dataset

    table = lake.projection(folder, name)
    files = [str(table / path) for path in delta_log.read(table).files]
    rows: list[dict[str, Any]] = dataset.dataset(files, format="parquet").to_table().to_pylist()
    return rows


def _announce(
    connection: psycopg.Connection, what: str, application: UUID, customer: UUID, **told: object
) -> None:
    payload = {"customer_id": str(customer), **told}
    # Nobody's clock is trusted: every event says that it happened at the same time.
    at = datetime(2026, 1, 1, tzinfo=UTC)
    event = outbox.Event(f"credit.application.{what}", application, payload, at, "corr")
    outbox.announce(connection, [event])
