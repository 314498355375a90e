"""The made-up lender: the same for the same seed, true to the rules, and traffic that counts."""

from __future__ import annotations

import random
from datetime import date

import psycopg
import pytest

from oltp.simulator import changes, seed, traffic
from oltp.simulator.lending import lend
from oltp.simulator.population import TABLES, People, everybody, populate
from oltp.simulator.requests import Card, Source
from schemas import codes

TODAY = date(2026, 3, 31)


def lender(customers: int, number: int = 7) -> People:
    people = People()
    for maker in everybody(customers, number, TODAY):
        chance = maker.chance
        lend(people, maker, chance, populate(people, maker, chance))
    return people


def test_the_same_seed_makes_the_same_rows_and_more_customers_change_none_of_the_first():
    few, again, many = lender(20), lender(20), lender(40)
    for table in TABLES:
        rows = [repr(row) for row in few.rows[table]]
        assert rows == [repr(row) for row in again.rows[table]]
        assert rows == [repr(row) for row in many.rows[table]][: len(rows)]
    assert lender(20, number=8).rows["customer.customers"] != few.rows["customer.customers"]


def test_a_lender_has_everything_that_decisions_and_marts_tell_apart():
    rows = lender(200).rows

    def values(table: str, column: str) -> set:
        return {row[column] for row in rows[table]}

    assert values("card.card_accounts", "currency") == {"USD", "EUR", "GBP", "JPY"}
    assert values("credit.active_credits", "status") == set(codes.CreditStatus)
    assert values("credit.applications", "status") == set(codes.ApplicationStatus)
    assert values("credit.payments", "status") == set(codes.PaymentStatus)
    assert values("kyc.kyc_records", "status") == set(codes.KycStatus)
    assert values("card.cards", "status") >= {"ACTIVE", "LOST", "STOLEN", "BLOCKED"}
    assert {"0.071250"} <= {str(rate) for rate in values("credit.offers", "interest_rate")}
    assert any(row["expires_on"] < TODAY for row in rows["card.cards"])
    assert any(row["daily_count_limit"] for row in rows["card.cards"])
    expiries = [row["expires_at"] for row in rows["kyc.kyc_records"] if row["expires_at"]]
    assert any(expiry.date() < TODAY for expiry in expiries)


def test_seeding_twice_adds_nothing_and_leaves_an_empty_outbox(database):
    first = seed(database.app, customers=60, seed=7, today=TODAY)
    assert first.added["customer.customers"] == 60
    again = seed(database.app, customers=60, seed=7, today=TODAY)
    assert set(again.added.values()) == {0}
    assert database.one("select count(*) from ops.outbox") == (0,)
    more = seed(database.app, customers=70, seed=7, today=TODAY)
    assert more.added["customer.customers"] == 10


def accounts_that_differ_from_their_ledger(database) -> int:
    return database.one(
        """select count(*) from card.card_accounts a where (posted_minor, held_minor) <> (
            select coalesce(sum(signed) filter (where bucket = 'POSTED'), 0),
                coalesce(sum(signed) filter (where bucket = 'HELD'), 0)
            from ledger.ledger_entries e cross join lateral (
                select case direction when 'DEBIT' then amount_minor else -amount_minor end
            ) s (signed) where e.account_id = a.account_id)"""
    )[0]


def credits_that_differ_from_their_payments(database) -> int:
    return database.one(
        """select count(*) from credit.active_credits c join lateral (
            select sum(principal_minor) as principal, sum(greatest(0, paid_amount_minor
                - interest_minor)) as repaid, bool_and(status = 'PAID') as all_paid
            from credit.payments p where p.credit_id = c.credit_id) p on true
        where principal <> principal_minor
            or outstanding_principal_minor <> principal_minor - repaid
            or all_paid <> (status = 'PAID_OFF')"""
    )[0]


def test_totals_and_schedules_add_up_after_seeding(database):
    seed(database.app, customers=60, seed=7, today=TODAY)
    assert accounts_that_differ_from_their_ledger(database) == 0
    assert credits_that_differ_from_their_payments(database) == 0


def test_every_change_beside_the_traffic_keeps_totals_and_schedules_true(database):
    seed(database.app, customers=60, seed=7, today=TODAY)
    approve_something(database)
    chance = random.Random(1)
    made = set()
    for _ in range(15):
        for name, (change, _) in changes.KINDS.items():
            with psycopg.connect(database.app) as connection:
                if change(connection, chance):
                    made.add(name)
    assert made == set(changes.KINDS)
    assert accounts_that_differ_from_their_ledger(database) == 0
    assert credits_that_differ_from_their_payments(database) == 0
    assert database.one("select count(*) from ops.outbox") == (0,)


def approve_something(database) -> None:
    """Holds to capture and reverse, made the way the decider makes them."""
    with psycopg.connect(database.app) as connection:
        connection.execute(
            """select card.decide_and_hold(jsonb_agg(jsonb_build_object(
                'request_id', n, 'authorization_id', gen_random_uuid(),
                'hold_id', gen_random_uuid(), 'entry_id', gen_random_uuid(),
                'idempotency_key', gen_random_uuid(), 'request_hash', repeat('a', 64),
                'card_id', c.card_id, 'account_id', a.account_id, 'amount_minor', 100,
                'currency', a.currency, 'merchant_id', 'm', 'mcc', '5411',
                'merchant_country', 'US', 'channel', 'CHIP', 'decision', 'APPROVED',
                'response_code', '00', 'reason_code', 'APPROVED', 'rule_hits', '[]'::jsonb,
                'facts', '{}'::jsonb, 'rule_version', 'v', 'requested_at', now(),
                'decided_at', now(), 'hold_expires_at', now() + interval '7 days')))
            from card.cards c join card.card_accounts a using (account_id),
                generate_series(1, 2) n
            where a.customer_id in (select customer_id from customer.customers limit 30)"""
        )


def test_requests_are_the_same_for_a_seed_and_few_of_them_are_odd():
    cards = [Card(f"{n}", "JPY" if n % 2 else "USD", "JP") for n in range(10)]
    one, two = (Source(cards, 7, "run") for _ in range(2))
    requests = [one.next() for _ in range(2_000)]
    assert requests == [two.next() for _ in range(2_000)]
    keys = [r.network_transaction_id for r in requests if not r.is_repeat]
    assert len(keys) == len(set(keys))
    assert 20 < sum(r.is_repeat for r in requests) < 150
    assert 0 < sum(r.amount_minor == 0 for r in requests) < 60
    known = {card.card_id for card in cards}
    assert 0 < sum(r.card_id not in known for r in requests) < 60


def test_traffic_without_a_lender_says_what_to_do(empty_migrated):
    with pytest.raises(LookupError, match="seed first"):
        traffic(dsn=empty_migrated.app, gateway="http://127.0.0.1:1", seconds=1)


@pytest.mark.stack
def test_live_traffic_is_answered_both_ways_and_totals_stay_true(stack):
    env = stack.env
    seed(env["MILLRACE_OLTP_DSN"], customers=60, seed=11)
    summary = traffic(
        dsn=env["MILLRACE_OLTP_DSN"],
        gateway=env["MILLRACE_GATEWAY"],
        kafka=env["MILLRACE_KAFKA"],
        registry=env["MILLRACE_REGISTRY"],
        rate=30,
        seconds=6,
        seed=11,
    )
    assert summary.asked == 180
    assert summary.http.unanswered + summary.topic.unanswered == 0
    assert summary.http.approved > 0
    assert summary.topic.approved > 0
    assert sum(summary.http.outcomes.values()) == summary.http.asked
    assert summary.changes
    with psycopg.connect(env["MILLRACE_OLTP_DSN"]) as connection:
        (held,) = connection.execute(
            "select count(*) from card.card_accounts a where held_minor <> coalesce((select"
            " sum(amount_minor) from card.holds h where h.account_id = a.account_id"
            " and h.status = 'PENDING'), 0)"
        ).fetchone()
    assert held == 0
