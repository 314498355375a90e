"""F31: the tables change shape under load. What adds flows; nothing becomes null silently."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from connectors import register
from millrace.stack import Stack
from pipelines import delta, lake
from schemas import contract
from tests.conftest import temporary_stack
from tests.faults import capture_invariants as invariants
from tests.faults.capture_client import Client
from tests.faults.capture_lake import build, differences, settings_of

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.long]
PROVIDER = """
insert into provider.providers (provider_id, name, provider_type, api_version)
values (%s, %s, 'DEFI', 'v1')
"""
TOUCHED = ("providers", "partners", "customers")
PARTNER = "insert into kyc.partners (partner_id, name) values (%s, %s)"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: its tables get another shape."""
    yield from temporary_stack(("postgres", "kafka", "registry", "connect"))


@pytest.fixture
def admin(stack: Stack) -> Iterator[psycopg.Connection]:
    dsn = stack.env["MILLRACE_OLTP_ADMIN_DSN"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def test_f31_add_widen_drop_rename_and_another_type_under_load(stack, admin, spark, seed) -> None:
    settings = settings_of(stack.env)
    client = Client(settings.oltp_admin_dsn, seed)
    added, widened, dropped, retyped, renamed = (str(uuid4()) for _ in range(5))
    for name, key in (("a", added), ("w", widened), ("d", dropped), ("t", retyped)):
        admin.execute(PROVIDER, (key, f"{name}-{seed}"))
    admin.execute(PARTNER, (renamed, f"before-{seed}"))
    assert differences(spark, settings, *TOUCHED) == []
    with client.writing():
        client.until(ok=30)
        admin.execute("alter table provider.providers add column website text")
        provider(admin, added, "website = 'https://a.test'")
        admin.execute("alter table provider.providers alter rate_limit_per_minute type bigint")
        provider(admin, widened, "rate_limit_per_minute = 77")
        admin.execute("alter table provider.providers drop column api_version")
        provider(admin, dropped, "status = 'SUSPENDED'")
        admin.execute("alter table kyc.partners rename column name to title")
        admin.execute(
            "update kyc.partners set title = %s where partner_id = %s", (f"after-{seed}", renamed)
        )
        client.until(ok=30)
    assert register.status(settings.connect).state == register.RUNNING
    build(spark, settings, *TOUCHED)

    rows = current(spark, settings, "providers")
    # What adds flows, also to where no contract knows it; what widens still fits.
    assert rows[added]["website"] == "https://a.test"
    assert rows[widened]["rate_limit_per_minute"] == 77
    # What a lost column leaves behind is not null: the row stays as it was, and the change waits.
    assert (rows[dropped]["api_version"], rows[dropped]["status"]) == ("v1", "ACTIVE")
    assert current(spark, settings, "partners")[renamed]["name"] == f"before-{seed}"
    assert "api_version.dropped" in reasons(spark, settings, "providers")
    assert reasons(spark, settings, "partners") == {"name.dropped"}
    print(f"kept out: {reasons(spark, settings, 'providers')}, nothing is null without a reason")

    with client.writing():
        admin.execute("alter table provider.providers add column api_version text")
        admin.execute("alter table kyc.partners rename column title to name")
        admin.execute(
            "alter table provider.providers drop constraint providers_rate_limit_per_minute_check,"
            " alter rate_limit_per_minute drop default,"
            " alter rate_limit_per_minute type text using 'many'"
        )
        provider(admin, retyped, "country = 'CZ'")
        client.until(ok=30)
    build(spark, settings, *TOUCHED)
    assert current(spark, settings, "providers")[retyped]["country"] is None
    assert "rate_limit_per_minute.type" in reasons(spark, settings, "providers")

    admin.execute(
        "alter table provider.providers alter rate_limit_per_minute type integer using 60"
    )
    for key in (added, widened, dropped, retyped):
        provider(admin, key, "api_version = 'v2'")
    admin.execute("update kyc.partners set is_active = false where partner_id = %s", (renamed,))
    # Once the shape is the contract's again, the rows are the source's again; no one stopped.
    wrong = differences(spark, settings, *TOUCHED) + invariants.violations(client, stack.env)
    assert not wrong, "\n".join(wrong[:30])
    rows = current(spark, settings, "providers")
    assert (rows[dropped]["status"], rows[dropped]["api_version"]) == ("SUSPENDED", "v2")


def provider(admin: psycopg.Connection, key: str, change: str) -> None:
    admin.execute(
        f"update provider.providers set {change}, updated_at = now() where provider_id = %s",
        (key,),
    )


def current(spark, settings, entity: str) -> dict[str, dict]:
    c = contract.load(entity)
    rows = delta.read(spark, lake.current(settings.lake, c)).where("not _is_deleted").collect()
    return {row[c.key[0]]: row.asDict() for row in rows}


def reasons(spark, settings, entity: str) -> set[str]:
    kept = delta.read(spark, lake.quarantine(settings.lake)).where(f"entity = '{entity}'")
    return {row["rule"] for row in kept.selectExpr("inline(reasons)").collect()}
