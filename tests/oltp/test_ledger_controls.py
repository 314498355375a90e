"""Each control is silent over a life of holds and payments, and names what breaks it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from oltp.ledger.controls import CONTROLS, check
from tests.oltp.bank import NOW, Bank

CAPTURE = "select card.capture_hold(%s, %s, %s, %s)"
VOID = "select card.void_hold(%s, %s, %s)"


@pytest.fixture
def bank(database) -> Bank:
    return Bank(database)


def key() -> str:
    return str(uuid4())


def test_a_hold_is_captured_in_parts_and_the_final_one_releases_the_rest(bank):
    account = bank.account()
    hold = bank.hold(account, 1_000)
    assert bank.balances(account) == (0, 1_000)
    first = key()
    for _ in range(2):
        bank.app(CAPTURE, hold, 300, first, False)
        assert (bank.balances(account), bank.status(hold)) == ((300, 700), "PARTIALLY_CAPTURED")
    bank.app(CAPTURE, hold, 200, key(), True)
    assert (bank.balances(account), bank.status(hold)) == ((500, 0), "CAPTURED")


def test_more_than_is_held_is_captured_and_flagged(bank):
    account = bank.account(limit=1_000)
    hold = bank.hold(account, 1_000)
    entry = bank.app(CAPTURE, hold, 1_200, key(), False)[0]
    assert (bank.balances(account), bank.status(hold)) == ((1_200, 0), "CAPTURED")
    assert bank.owner("select over_limit_allowed from ledger.entries where entry_id = %s", entry)[0]


def test_a_hold_is_voided_in_part_then_whole_and_then_there_is_nothing_left(bank):
    account = bank.account()
    hold = bank.hold(account, 1_000)
    bank.app(VOID, hold, 400, key())
    assert (bank.balances(account), bank.status(hold)) == ((0, 600), "PENDING")
    with pytest.raises(errors.CheckViolation, match="has 600 left"):
        bank.app(VOID, hold, 601, key())
    last = key()
    entry = bank.app(VOID, hold, None, last)
    assert bank.app(VOID, hold, None, last) == entry
    assert (bank.balances(account), bank.status(hold)) == ((0, 0), "REVERSED")
    assert bank.app(VOID, hold, None, key()) == (None,)


def test_a_hold_expires_once_and_a_late_capture_posts_all_the_same(bank):
    account = bank.account()
    hold = bank.hold(account, 1_000, NOW - timedelta(days=3))
    kept = bank.hold(account, 50)
    assert bank.found("leaked_holds")
    assert bank.app("select card.expire_holds()")[0] >= 1
    assert bank.app("select card.expire_holds()")[0] == 0
    assert (bank.status(hold), bank.status(kept)) == ("EXPIRED", "PENDING")
    bank.app(CAPTURE, hold, 700, key(), True)
    assert (bank.balances(account), bank.status(hold)) == ((700, 50), "EXPIRED")
    assert bank.found("leaked_holds") == []


def test_a_limit_that_was_cut_does_not_accuse_what_was_approved_before(bank):
    account = bank.account(limit=1_000)
    bank.hold(account, 900)
    bank.app(
        "update card.card_accounts set credit_limit_minor = 100 where account_id = %s", account
    )
    assert bank.found("over_limit") == []


def test_after_all_this_every_control_is_silent(bank):
    with psycopg.connect(bank.database.app) as connection:
        assert {f.control: f.sample for f in check(connection)} == dict.fromkeys(CONTROLS, ())
    listed = bank.owner(
        "select array_agg(substr(viewname, 9) order by viewname) from pg_views"
        " where schemaname = 'ledger' and viewname like 'control%%'"
    )[0]
    assert listed == sorted(CONTROLS)


DUPLICATE = """
    alter table card.authorizations drop constraint authorizations_idempotency_key_key;
    insert into card.authorizations
    select (jsonb_populate_record(a, jsonb_build_object('authorization_id', gen_random_uuid()))).*
    from card.authorizations a where message_kind = 'PURCHASE' limit 1
"""
A_HOLD = "(select min(hold_id::text)::uuid from card.holds where status = 'PENDING')"
BREAKERS = {
    "unbalanced_entries": "update ledger.postings set amount_minor = amount_minor + 1"
    " where direction = 'CREDIT'",
    "empty_entries": "delete from ledger.postings",
    "card_totals": "update card.card_accounts set posted_minor = posted_minor + 1",
    "credit_principal": "update credit.active_credits set outstanding_principal_minor = 1",
    "corrections": "update ledger.postings p set amount_minor = 1 from ledger.entries e"
    " where e.entry_id = p.entry_id and e.entry_type = 'CORRECTION'",
    "over_limit": "update ledger.credit_limits set credit_limit_minor = 1",
    "decisions": DUPLICATE,
    "holds": f"update card.holds set status = 'CAPTURED' where hold_id = {A_HOLD}",
    "leaked_holds": f"update card.holds set expires_at = '2020-01-01' where hold_id = {A_HOLD}",
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_finds_what_breaks_it(bank, control):
    account, credit = bank.account(), bank.credit()
    bank.hold(account, 10)
    paid = bank.app("select ledger.post_payment(%s, 5, %s)", account, key())[0]
    bank.app("select ledger.correct(%s, %s)", paid, key())
    bank.app("select ledger.disburse(%s, %s)", credit, key())
    with psycopg.connect(bank.database.admin) as connection:
        view = f"select count(*) from ledger.control_{control}"
        assert connection.execute(view).fetchone() == (0,)
        connection.execute("set local session_replication_role = replica")
        connection.execute(BREAKERS[control])
        assert connection.execute(view).fetchone()[0] > 0
        connection.rollback()


def test_statements_are_compared_and_breaks_followed_until_they_are_gone(bank):
    account = bank.account()
    bank.app("select ledger.post_payment(%s, 1000, %s, '2026-01-05 10:00Z')", account, key())
    line = (
        "insert into ledger.statement_lines (account_id, statement_date, line_number,"
        " printed_balance_minor, currency) values (%s, %s, %s, %s, 'USD')"
    )
    bank.app(line, account, "2026-01-05", 1, 400)
    bank.app(line, account, "2026-01-05", 2, 1_000)
    bank.app(line, account, "2026-01-07", 1, 1_250)
    breaks = "select statement_date::text, difference_minor from ledger.statement_breaks(%s)"
    assert bank.app(breaks, 100) == ("2026-01-07", -250)
    assert bank.app(breaks, 250) is None
    state = "select state, owner from ledger.reconciliation_breaks where account_id = %s"
    bank.app("select ledger.reconcile(100)")
    assert bank.app(state, account) == ("OPEN", None)
    explain = "select ledger.explain_break(%s, '2026-01-07', 'Ada', 'a deposit on its way')"
    assert bank.app(explain, account) == (True,)
    bank.app("select ledger.reconcile(100)")
    assert bank.app(state, account) == ("EXPLAINED", "Ada")
    bank.app("select ledger.post_payment(%s, 250, %s, '2026-01-06 10:00Z')", account, key())
    bank.app("select ledger.reconcile(100)")
    assert bank.app(state, account)[0] == "RESOLVED"
    assert bank.app(
        "select account_days, broken from ledger.reconciliation_runs order by completed_at desc"
    ) == (2, 0)
