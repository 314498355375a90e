"""The authorization agent's handler on a real Postgres and a real Redis, without Kafka."""

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest

from millrace.stack import Stack
from streams import store
from streams.authorization import agent
from streams.authorization.rules import RuleSet
from streams.authorization.ruleset_source import RulesInForce
from tests.cards import UsableCard, new_card, query
from tests.streams.authorization.agent_desk import Desk, copied, request

NEW_VERSION = """
insert into card.rule_versions (version, status, document, document_sha256, created_by)
values (%s, 'SHADOW', %s, repeat('0', 64), 'test')
"""
SHADOWED = """
select s.reason_code, s.rule_hits from card.shadow_verdicts s
join card.authorizations a using (authorization_id)
where a.card_id = %s order by a.card_version
"""
SANCTIONED = """
insert into kyc.aml_checks (aml_check_id, customer_id, check_type, status, provider, list_name,
    list_version, list_sha256, checked_at)
values (gen_random_uuid(), %s, 'SANCTIONS', 'CONFIRMED_MATCH', 'test', 'OFAC', '1', %s, now())
"""


def sanctioned(dsn: str, card: UsableCard) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(SANCTIONED, (card.customer_id, "0" * 64))


async def test_a_batch_is_answered_in_order_and_each_request_on_its_own_merits(desk: Desk) -> None:
    card, poor = new_card(desk.dsn), new_card(desk.dsn, credit_limit_minor=99)
    unknown = UsableCard(str(uuid.uuid4()), "", "")
    requests = [
        request(card),
        request(poor),
        request(unknown),
        request(card, mcc="x"),
        request(card, amount_minor=-1),
        request(card, amount_minor=0),
        request(card, deadline_at=datetime.now(UTC) - timedelta(seconds=1)),
    ]
    decided = await desk.decide(*requests)
    assert [d.request_id for d in decided] == [r.request_id for r in requests]
    assert [d.response_code for d in decided] == ["00", "51", "14", "30", "13", "00", "91"]
    stored = "select count(*) from card.authorizations where idempotency_key = any(%s)"
    assert query(desk.dsn, stored, [r.idempotency_key for r in requests]) == [(4,)]


async def test_a_redelivered_batch_gets_its_stored_decisions(desk: Desk) -> None:
    card = new_card(desk.dsn, credit_limit_minor=100)
    batch = [request(card), request(card)]
    first = await desk.decide(*batch)
    again = await desk.decide(*batch)
    assert [d.response_code for d in first] == ["00", "51"]
    assert all(d.replayed for d in again)
    assert [(d.authorization_id, d.reason_code, d.decided_at) for d in first] == [
        (d.authorization_id, d.reason_code, d.decided_at) for d in again
    ]


async def test_copies_say_what_the_database_says(desk: Desk) -> None:
    card = new_card(desk.dsn)
    sanctioned(desk.dsn, card)
    (from_record,) = (await desk.facts.read([card.card_id])).values()
    found = await copied(desk, card)
    assert (from_record.is_copy, from_record.source) == (False, "postgres")
    assert (found.is_copy, found.source) == (True, "redis")
    assert found.is_sanctioned
    assert from_record.lsn is not None
    same = {"is_copy": False, "source": "", "lsn": None}
    assert replace(found, **same) == replace(from_record, **same)


STALE = [
    ("card.card_accounts set credit_limit_minor = 500", "account_id", "00"),
    ("card.card_accounts set status = 'FROZEN'", "account_id", "62"),
    ("card.cards set status = 'LOST'", "card_id", "41"),
]


@pytest.mark.parametrize(("change", "column", "code"), STALE)
async def test_what_changed_since_the_copy_was_made_decides(
    desk: Desk, change: str, column: str, code: str
) -> None:
    card = new_card(desk.dsn, credit_limit_minor=100)
    await copied(desk, card)
    with psycopg.connect(desk.dsn) as connection:
        connection.execute(f"update {change} where {column} = %s", (getattr(card, column),))
    amount = 500 if code == "00" else 100
    (decided,) = await desk.decide(request(card, amount))
    assert decided.response_code == code


async def test_a_card_with_too_many_attempts_in_a_minute_is_refused(desk: Desk) -> None:
    card = new_card(desk.dsn)
    await desk.decide(*(request(card, 1) for _ in range(120)))
    (decided,) = await desk.decide(request(card, 1))
    assert (decided.response_code, decided.reason_code) == ("59", "VELOCITY_EXCEEDED")


async def test_an_approval_that_would_come_late_is_not_made(desk: Desk) -> None:
    card = new_card(desk.dsn)
    late = request(card, deadline_at=datetime.now(UTC) + timedelta(milliseconds=300))
    with psycopg.connect(desk.dsn) as holder:
        lock = "select 1 from card.card_accounts where account_id = %s for update"
        holder.execute(lock, (card.account_id,))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await desk.decide(late)
    (decided,) = await desk.decide(late)
    assert (decided.response_code, decided.reason_code) == ("91", "DEADLINE_EXCEEDED")


async def test_a_conflict_is_marked_and_changes_nothing(desk: Desk) -> None:
    card = new_card(desk.dsn)
    first = request(card, 100)
    await desk.decide(first)
    (other,) = await desk.decide(request(card, 101, idempotency_key=first.idempotency_key))
    assert other.conflict
    held = "select held_minor from card.card_accounts where account_id = %s"
    assert query(desk.dsn, held, card.account_id) == [(100,)]


async def test_rules_in_shadow_see_the_same_and_are_written_down_beside(desk: Desk) -> None:
    document = {**desk.rules.current.active.document, "version": f"strict-{uuid.uuid4()}"}
    document["rules"] = [
        {
            "id": "no_second",
            "stage": "velocity",
            "reason": "VELOCITY_EXCEEDED",
            "when": {"feature": "card_attempts_1h", ">=": 1},
            "explanation": "{card_attempts_1h} attempts within an hour",
        }
    ]
    with psycopg.connect(desk.dsn) as connection:
        connection.execute(NEW_VERSION, (document["version"], json.dumps(document)))
    strict = RuleSet.parse(document)
    in_force = RulesInForce(desk.rules.current.active, (strict,))
    watched = replace(desk, rules=SimpleNamespace(current=in_force))  # type: ignore[arg-type]
    card = new_card(desk.dsn)
    decided = await watched.decide(request(card), request(card))
    assert [d.response_code for d in decided] == ["00", "00"]
    found = query(desk.dsn, SHADOWED, card.card_id)
    assert [row[0] for row in found] == ["APPROVED", "VELOCITY_EXCEEDED"]
    assert found[1][1][0]["explanation"] == "1 attempts within an hour"


async def test_without_redis_decisions_go_on_and_it_is_left_alone_after_five_failures(
    desk: Desk,
) -> None:
    away = store.connect("redis://127.0.0.1:1/0", 100)
    alone = Desk(desk.dsn, away, None, desk.ledger, desk.rules).another()  # type: ignore[arg-type]
    card = new_card(desk.dsn)
    for _ in range(7):
        (decided,) = await alone.decide(request(card))
        assert decided.response_code == "00"
    assert alone.facts._breaker.current_state == "open"
    (refused,) = await alone.decide(request(card, 10**12))
    assert refused.response_code == "51"


COLLATERAL = """
with priced as (
    insert into card.prices (price_id, asset, quote_currency, price, source, observed_at)
    values (gen_random_uuid(), %(asset)s, 'USD', 2, 'test', %(seen_at)s)
), line as (
    insert into card.card_accounts (
        account_id, customer_id, program_id, currency, credit_limit_minor, opened_on)
    values (%(account_id)s, %(customer_id)s, 'collateral', 'USD', 1000000, current_date)
    returning customer_id, account_id
), plastic as (
    insert into card.cards (card_id, account_id, product, issued_on, expires_on)
    select %(card_id)s, account_id, 'GOLD', current_date, current_date + 1000 from line
), position as (
    insert into card.positions (
        position_id, customer_id, account_id, debt_asset, debt_amount, opened_at)
    select gen_random_uuid(), customer_id, account_id, %(asset)s, 10, now() from line
    returning position_id
)
insert into card.position_collaterals (
    position_collateral_id, position_id, asset, amount, liquidation_threshold)
select gen_random_uuid(), position_id, %(asset)s, 100, 0.8 from position
"""


@pytest.mark.parametrize(
    ("age_s", "amount_minor", "reason"),
    [(0, 12_500, "APPROVED"), (0, 12_600, "HEALTH_TOO_LOW"), (3600, 1, "PRICE_STALE")],
)
async def test_a_line_with_collateral_is_judged_by_its_health_at_the_latest_price(
    postgres_only: Stack, desk: Desk, age_s: int, amount_minor: int, reason: str
) -> None:
    card = UsableCard(str(uuid.uuid4()), str(uuid.uuid4()), new_card(desk.dsn).customer_id)
    seen_at = datetime.now(UTC) - timedelta(seconds=age_s)
    line = {**vars(card), "asset": str(uuid.uuid4()), "seen_at": seen_at}
    with psycopg.connect(postgres_only.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        connection.execute(COLLATERAL, line)
    # 100 x 2 x 0.8 = 160 counts; 20 are owed already; 160 / 1.10 is 145.45.
    for _ in range(2):  # the second time there are copies, which do not have it
        (decided,) = await desk.decide(request(card, amount_minor, currency="USD"))
        assert decided.reason_code == reason
        await asyncio.sleep(0.05)
        amount_minor = min(amount_minor, 1) if reason == "APPROVED" else amount_minor


def test_a_request_under_a_later_schema_is_read_as_far_as_it_is_known() -> None:
    asked = request(UsableCard("c", "", ""))
    later = {**vars(asked), "something_new": 1}
    codec = SimpleNamespace(decode=lambda value, name: later)
    record = SimpleNamespace(value=b"x")
    assert agent.decode(codec, record) == asked  # type: ignore[arg-type]
