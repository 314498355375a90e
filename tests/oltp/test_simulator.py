"""The made-up lender in its database: the same for the same seed, whole, and true to the ledger."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from oltp.simulator import changes, history, seed, seeding, traffic
from oltp.simulator.requests import Card, Source
from oltp.simulator.scene import Scene
from oltp.simulator.tables import REFERENCE, TABLES
from tests.oltp.conftest import migrate
from tests.oltp.lives import VAULT, world

# Holds that were open when history ended are leaks unless it ended now.
TODAY = datetime.now(UTC).date()
FOLLOWING = ("ledger.accounts", "ledger.credit_limits")


def small(customers: int) -> dict:
    return {"customers": customers, "seed": 7, "today": TODAY, "vault": VAULT}


def checksums(database) -> dict[str, tuple]:
    """Rows and their checksum by table, whatever order they are in."""
    return {
        table: database.one(
            "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)"
            f" from {table} t"
        )
        for table in (*REFERENCE, *TABLES, *FOLLOWING)
    }


def findings(database) -> dict[str, int]:
    """What the ledger's control views list, and scores that are not those of their factors."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        views = connection.execute(
            "select table_name from information_schema.views where table_schema = 'ledger'"
            " and table_name like 'control%'"
        ).fetchall()
        assert len(views) >= 8
        found = {
            view: connection.execute(f"select count(*) from ledger.{view}").fetchone()[0]
            for (view,) in views
        }
        found["scores"] = connection.execute(
            "select count(*) from risk.assessment_scores where differs"
        ).fetchone()[0]
    return {name: count for name, count in found.items() if count}


def test_the_same_seed_gives_the_same_rows_in_two_databases_and_adds_nothing_twice(
    empty_database, monkeypatch
):
    made = []
    for chunk in (250, 25):
        database = empty_database()
        migrate(database.admin)
        # However the work is cut, the rows are the same.
        monkeypatch.setattr(seeding, "CHUNK", chunk)
        assert history(database.app, world(years=1.5, until=TODAY), 60).rows > 5_000
        made.append(checksums(database))
    assert {table: pair for table in made[0] if len(pair := {m[table] for m in made}) > 1} == {}
    assert all(made[0][table][0] for table in FOLLOWING)
    again = history(database.app, world(years=1.5, until=TODAY), 60)
    assert again.rows == 0
    assert checksums(database) == made[1]
    assert findings(database) == {}


def test_a_run_that_broke_off_is_finished_by_the_next_one(empty_migrated, monkeypatch):
    monkeypatch.setattr(seeding, "CHUNK", 20)
    whole = seeding.live

    def breaks(world_, number, rows):
        if number == 45:
            raise KeyboardInterrupt
        whole(world_, number, rows)

    monkeypatch.setattr(seeding, "live", breaks)
    with pytest.raises(KeyboardInterrupt):
        history(empty_migrated.app, world(years=1.0, until=TODAY), 60)
    monkeypatch.setattr(seeding, "live", whole)
    assert (
        history(empty_migrated.app, world(years=1.0, until=TODAY), 60).added["customer.customers"]
        == 20
    )
    assert empty_migrated.one("select count(*) from customer.customers") == (60,)
    assert findings(empty_migrated) == {}


def test_another_day_leaves_those_who_are_there_and_their_balances_as_they_are(database):
    first = seed(database.app, **small(40))
    assert first.added["customer.customers"] == 40
    before = checksums(database)
    later = {**small(40), "today": TODAY + timedelta(days=400)}
    assert seed(database.app, **later).rows == 0
    assert checksums(database) == before
    more = seed(database.app, **small(60))
    assert more.added["customer.customers"] == 20
    assert findings(database) == {}


def test_personal_values_are_sealed_and_open_with_the_key_of_seed_and_number(database):
    seed(database.app, **small(60))
    customer, email, number = database.one(
        "select customer_id, email, split_part(external_ref, ':', 4) from customer.customers"
        " where external_ref = 'sim:7:customer:3:0'"
    )
    subject = VAULT.new_subject(customer, VAULT.derived_data_key(f"7/{number}"))
    assert subject.open("email", email).endswith("@example.com")


def test_history_announces_nothing_and_leaves_an_empty_outbox(database):
    seed(database.app, **small(60))
    assert database.one("select count(*) from ops.outbox") == (0,)


def test_every_live_change_keeps_balances_holds_and_schedules_true(database):
    seed(database.app, **small(60))
    approve_something(database)
    chance = random.Random(1)
    made = set()
    for _ in range(10):
        for name in chance.sample(tuple(changes.KINDS), len(changes.KINDS)):
            change, _ = changes.KINDS[name]
            with psycopg.connect(database.app) as connection:
                if change(Scene(connection, chance, VAULT)):
                    made.add(name)
    assert made == set(changes.KINDS)
    assert findings(database) == {}
    assert database.one("select count(*) from ops.outbox") == (0,)
    differing = database.one(
        """select count(*) from credit.active_credits c where status in ('CURRENT', 'DELINQUENT')
        and outstanding_principal_minor <> principal_minor - (select coalesce(sum(principal_minor),
            0) from credit.payment_receipts r where r.credit_id = c.credit_id)"""
    )
    assert differing == (0,)


def test_a_profile_is_changed_without_keys_as_well(database):
    seed(database.app, **small(60))
    with psycopg.connect(database.app) as connection:
        scene = Scene(connection, random.Random(3), None)
        assert changes.KINDS["profile updated"][0](scene) == 1


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
                'decided_at', now(), 'message_kind', 'PURCHASE', 'amount_is_total', false,
                'partial_allowed', false, 'network', 'DOMESTIC')))
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
    seed(env["MILLRACE_OLTP_DSN"], customers=60, seed=11, vault=VAULT)
    summary = traffic(
        dsn=env["MILLRACE_OLTP_DSN"],
        gateway=env["MILLRACE_GATEWAY"],
        kafka=env["MILLRACE_KAFKA"],
        registry=env["MILLRACE_REGISTRY"],
        rate=15,
        seconds=6,
        seed=11,
    )
    assert summary.asked == 90
    assert summary.http.unanswered + summary.topic.unanswered == 0
    assert summary.http.approved > 0
    assert summary.topic.approved > 0
    assert sum(summary.http.outcomes.values()) == summary.http.asked
    assert summary.changes
    with psycopg.connect(env["MILLRACE_OLTP_DSN"]) as connection:
        (wrong,) = connection.execute(
            "select (select count(*) from ledger.control_card_totals)"
            " + (select count(*) from ledger.control_holds)"
        ).fetchone()
    assert wrong == 0
