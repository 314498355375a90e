"""The hourly reconciliation on a real Postgres: what differs fails a check that shows its rows."""

from __future__ import annotations

from types import SimpleNamespace

import dagster as dg
import psycopg
import pytest

from orchestration import lease, reconciling
from orchestration.settings import Settings
from tests.oltp.bank import Bank


@pytest.fixture
def settings(postgres_only, tmp_path) -> Settings:
    env = postgres_only.env
    return Settings(
        home=tmp_path,
        lake=tmp_path / "lake",
        oltp_dsn=env["MILLRACE_OLTP_DSN"],
        warehouse_dsn=env["MILLRACE_WAREHOUSE_DSN"],
    )


def checks(settings: Settings) -> tuple[dict[str, bool], dg.ExecuteInProcessResult]:
    result = dg.materialize([reconciling.asset(settings)])
    assert result.success
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}, result


def test_a_position_that_is_not_what_was_entered_fails_its_check_until_it_is_gone(
    settings: Settings, postgres_only
) -> None:
    bank = Bank(
        SimpleNamespace(admin=postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"], app=settings.oltp_dsn)
    )
    assert checks(settings)[0] == {reconciling.PROVABLE: True, reconciling.LOOKED_AFTER: True}
    account = bank.account()
    change = "update card.card_accounts set posted_minor = posted_minor + %s where account_id = %s"
    bank.broken(change, 5, account)
    found, result = checks(settings)
    assert found == {reconciling.PROVABLE: False, reconciling.LOOKED_AFTER: True}
    (one,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
    (record,) = one.metadata["breaks"].value.records
    assert (record.data["subject"], record.data["position"]) == (str(account), "5")
    bank.owner(
        "update ledger.settlement_breaks set first_seen_at = now() - interval '25 hours'"
        " where subject = %s returning 1",
        str(account),
    )
    assert checks(settings)[0] == {reconciling.PROVABLE: False, reconciling.LOOKED_AFTER: False}
    bank.broken(change, -5, account)
    assert checks(settings)[0] == {reconciling.PROVABLE: True, reconciling.LOOKED_AFTER: True}


def test_a_run_beside_a_tick_is_seen_to_be_alive_and_does_not_wait_for_the_lake(
    settings: Settings,
) -> None:
    with (
        lease.hold(settings.warehouse_dsn, "a-tick"),
        lease.presence(settings.warehouse_dsn, "beside-it"),
    ):
        assert lease.alive(settings.warehouse_dsn) == {"a-tick", "beside-it"}
        assert checks(settings)[0][reconciling.PROVABLE]


def test_a_database_that_does_not_answer_fails_the_run(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"oltp_dsn": "postgresql://x@127.0.0.1:1/nothing"})
    with pytest.raises(psycopg.OperationalError):
        dg.materialize([reconciling.asset(nowhere)])
