"""Cuts are taken in one snapshot, and wait for capture or say why not."""

from collections import Counter

import psycopg
import pytest

from pipelines import cut
from pipelines.cut import CaptureBehind
from pipelines.visibility import visible

ACCOUNT = """
insert into customer.customers (customer_id, country)
values ('00000000-0000-4000-8000-0000000000c1', 'CZ') on conflict do nothing;
insert into card.card_accounts
    (account_id, customer_id, currency, credit_limit_minor, posted_minor, opened_on)
values (gen_random_uuid(), '00000000-0000-4000-8000-0000000000c1', %s, %s, -5, '2026-01-01')
"""


@pytest.fixture(scope="module")
def dsn(postgres_only) -> str:
    return postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]


def _account(connection: psycopg.Connection, currency: str, limit: int) -> None:
    customer, account = ACCOUNT.split(";")
    connection.execute(customer)
    connection.execute(account, (currency, limit))


def _money(totals: dict) -> dict[tuple[str, str], int]:
    sums = totals["card_accounts"]["money"]
    return {
        (column, currency): sums[column][currency] for column in sums for currency in sums[column]
    }


def test_a_cut_counts_what_is_committed_and_knows_what_is_running(dsn) -> None:
    before = cut.take(dsn).totals
    with psycopg.connect(dsn) as running, psycopg.connect(dsn) as committed:
        _account(committed, "CZK", 700)
        committed.commit()
        _account(running, "KWD", 1)
        (xid,) = running.execute("select pg_current_xact_id()::text::bigint").fetchone()
        taken = cut.take(dsn)
        running.rollback()
    assert not visible(xid, "c", None, taken)
    # Others may have accounts in this database; what is new is what was committed.
    grown = Counter(_money(taken.totals))
    grown.subtract(_money(before))
    assert taken.totals["card_accounts"]["rows"] == before["card_accounts"]["rows"] + 1
    assert {place: by for place, by in grown.items() if by} == {
        ("credit_limit_minor", "CZK"): 700,
        ("posted_minor", "CZK"): -5,
    }
    assert taken.totals["offers"] == before["offers"]
    assert taken.lsn > 0


def test_waiting_says_when_there_is_no_slot_and_when_it_stays_behind(dsn) -> None:
    with pytest.raises(CaptureBehind, match="there is no replication slot"):
        cut.wait_for_capture(dsn, cut.take(dsn), timeout_s=1, slot="cut_test")
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("select pg_create_logical_replication_slot('cut_test', 'pgoutput')")
        try:
            admin.execute("select pg_logical_emit_message(true, 'test', 'moves the log')")
            taken = cut.take(dsn)
            with pytest.raises(CaptureBehind, match="behind the cut"):
                cut.wait_for_capture(dsn, taken, timeout_s=0.5, slot="cut_test")
            admin.execute(
                "select pg_replication_slot_advance('cut_test', pg_current_wal_insert_lsn())"
            )
            assert cut.wait_for_capture(dsn, taken, timeout_s=1, slot="cut_test") < 1
        finally:
            admin.execute("select pg_drop_replication_slot('cut_test')")
