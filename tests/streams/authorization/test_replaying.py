"""Replay: every decision of a mixed day comes out again; whatever was changed since is found."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from streams.authorization.replaying import NotReplayable, Replay, Replayer
from streams.authorization.ruleset_source import from_file
from tests.oltp.conftest import Database
from tests.streams.authorization import oracle
from tests.streams.authorization.desk import Desk, Plastic, new_card, random_swipe, swipe

BEGIN = datetime(2026, 11, 20, 3, tzinfo=UTC)
LIMITS = """
insert into card.spend_limits (
    card_id, account_id, program_id, period, currency, count_limit, amount_limit_minor)
values (%s, null, null, 'DAY', 'USD', 9, 300000), (null, %s, null, 'WEEK', 'USD', null, 400000),
    (null, null, 'standard', 'DAY', 'USD', null, 4000000),
    (%s, null, null, 'LIFETIME', 'USD', 20, null)
"""


@dataclass
class World:
    """A day's decisions, and who took them."""

    database: Database
    cards: list[Plastic]
    judged_again: int

    def replayer(self) -> Replayer:
        return Replayer(psycopg.connect(self.database.app, autocommit=True))

    def replay(self, decision: str) -> Replay:
        return self.replayer().replay(decision)

    def broken(self, statement: str, *values: object) -> None:
        """A write past every trigger, as somebody with the disk would make it."""
        with psycopg.connect(self.database.admin) as connection:
            connection.execute("set local session_replication_role = replica")
            connection.execute(statement, values)


@pytest.fixture(scope="module")
def world(database) -> World:
    return make_world(database, seed=7)


def make_world(database: Database, seed: int) -> World:
    """Two workers decide on the same cards for thirty hours, across midnight in New York."""
    rng = random.Random(seed)
    with psycopg.connect(database.admin, autocommit=True) as owner:
        owner.execute("update card.programs set time_zone = 'America/New_York'")
    desks = [Desk(database.app, from_file()) for _ in range(2)]
    app = desks[0].connection
    cards = [new_card(app, limit_minor=10**9 if n < 4 else 400_000) for n in range(8)]
    cards += [new_card(app, account=card) for card in cards[:3]]
    app.execute(LIMITS, (cards[0].card_id, cards[1].account_id, cards[2].card_id))
    approved: dict[str, list[str]] = defaultdict(list)
    at = BEGIN
    for n in range(160):
        at += timedelta(seconds=rng.choice([0, 0.003, 5, 60, 900, 1500]))
        batch = [random_swipe(rng, cards, at, approved) for _ in range(rng.randint(1, 6))]
        if n % 40 == 7:
            batch.append(swipe("0b5c1b62-0000-4000-8000-000000000000", at))
        answers = rng.choice(desks).decide(batch, at)
        for one in batch:
            if answers[one.idempotency_key]["approved_amount_minor"]:
                approved[one.card_id].append(one.idempotency_key)
        meanwhile(rng, app, cards, at)
    return World(database, cards, sum(desk.judged_again for desk in desks))


def meanwhile(
    rng: random.Random, app: psycopg.Connection, cards: list[Plastic], at: datetime
) -> None:
    """Holds end, are captured in part, limits change, cards are blocked, somebody stands in."""
    chance = rng.random()
    open_holds = app.execute(
        "select hold_id from card.holds where status in ('PENDING', 'PARTIALLY_CAPTURED')"
        " order by created_at, hold_id"
    ).fetchall()
    if open_holds and chance < 0.15:
        app.execute("select card.void_hold(%s, null, %s)",
                    (rng.choice(open_holds)["hold_id"], str(rng.random())))  # fmt: skip
    elif open_holds and chance < 0.3:
        app.execute("select card.capture_hold(%s, 90, %s, false)",
                    (rng.choice(open_holds)["hold_id"], str(rng.random())))  # fmt: skip
    elif chance < 0.35:
        app.execute("update card.card_accounts set credit_limit_minor = %s where account_id = %s",
                    (rng.choice([300_000, 500_000]), rng.choice(cards[4:]).account_id))  # fmt: skip
    elif chance < 0.4:
        app.execute("update card.cards set status = %s where card_id = %s",
                    (rng.choice(["ACTIVE", "ACTIVE", "BLOCKED"]), cards[-1].card_id))  # fmt: skip
    elif chance < 0.5:
        stand_in(app, rng.choice(cards), at, rng.choice([0, 700]))


def stand_in(app: psycopg.Connection, card: Plastic, at: datetime, amount_minor: int) -> None:
    """What was answered for us becomes a decision of the card."""
    key = str(uuid4())
    advice = {
        "message_key": f"advice:{key}", "message_kind": "ADVICE", "request_hash": "b" * 64,
        "original_key": key, "occurred_at": at.isoformat(), "card_id": card.card_id,
        "account_id": card.account_id, "amount_minor": amount_minor, "currency": card.currency,
        "merchant_id": "M-3", "mcc": "5411", "merchant_country": "US",
    }  # fmt: skip
    app.execute("select * from card.apply_messages(%s)", (json.dumps([advice]),))


def test_every_decision_of_a_mixed_day_comes_out_again(world):
    replays = list(world.replayer().replay_span(BEGIN, BEGIN + timedelta(days=9)))
    rows = [row for row in oracle.rows_of(world.database.app) if not row["is_stand_in"]]
    assert len(replays) == len(rows) > 400
    wrong = {r.authorization_id: [f"{c}" for c in r.differences] for r in replays if r.differences}
    assert not wrong


def test_the_day_was_mixed(world):
    """What the test above would be worth nothing without."""
    rows = oracle.rows_of(world.database.app)
    reasons = Counter(row["reason_code"] for row in rows)
    assert {
        "APPROVED", "PARTIALLY_APPROVED", "INSUFFICIENT_CREDIT", "COUNT_LIMIT_EXCEEDED",
        "AMOUNT_LIMIT_EXCEEDED", "IMPOSSIBLE_TRAVEL", "MERCHANT_NOT_ALLOWED", "UNKNOWN_CARD",
        "ORIGINAL_NOT_FOUND", "ORIGINAL_ENDED", "CARD_NOT_ACTIVE", "STAND_IN_APPROVED",
        "STAND_IN_DECLINED",
    } <= set(reasons)  # fmt: skip
    assert {"PURCHASE", "VERIFICATION", "INCREMENT", "ADVICE"} == {
        row["message_kind"] for row in rows
    }
    assert world.judged_again > 0
    # Refused by money alone, under the lock: the policy had let it pass.
    assert any(row["reason_code"] == "INSUFFICIENT_CREDIT" and not row["rule_hits"] for row in rows)


def test_logged_features_are_those_that_counting_row_by_row_gives(world):
    rows = oracle.rows_of(world.database.app)
    for row in rows:
        if row["is_stand_in"] or row["facts"]["card"] is None:
            continue
        logged = row["facts"]["features"]
        expected = oracle.features(rows, row)
        assert {name: logged.get(name) for name in expected} == expected, row["id"]
        if (speed := oracle.kmh(rows, row)) is not None:
            assert logged["card_travel_kmh"] == speed


def some_decision(world, where: str = "card_version > 5") -> str:
    with psycopg.connect(world.database.app) as connection:
        return connection.execute(
            f"select authorization_id::text from card.authorizations where {where}"
            " order by decided_at, authorization_id limit 1"
        ).fetchone()[0]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("facts = jsonb_set(facts, '{features,card_attempts_24h}', '77')", "card_attempts_24h"),
        ("facts = facts #- '{features,card_spend_24h}'", "card_spend_24h"),
        ("facts = jsonb_set(facts, '{feature_versions,card_spend_1h}', '1')", "card_spend_1h"),
        ("available_minor = available_minor + 1", "available"),
        ("rule_hits = '[{\"rule\": \"x\", \"reason\": \"SANCTIONED\", \"explanation\": \"y\"}]'",
         "hit 1"),
        ("reason_code = 'SANCTIONED', decision = 'DECLINED', response_code = '62'", "reason"),
        ("amount_minor = amount_minor + 1", "hash"),
        ("amount_minor = amount_minor + 1", "held in the journal"),
        ("merchant_id = 'M-77'", "hash"),
        ("decided_at = decided_at - interval '1 day'", "moment"),
    ],
)  # fmt: skip
def test_what_was_changed_afterwards_is_found(world, change, found):
    decision = some_decision(
        world, "card_version > 12 and reason_code = 'APPROVED' and message_kind = 'PURCHASE'"
        " and (facts->'features'->>'card_spend_24h')::bigint > 0"
    )  # fmt: skip
    assert world.replay(decision).is_equal
    keep = "create table if not exists kept as select * from card.authorizations"
    world.broken(f"{keep} where authorization_id = %s", decision)
    try:
        world.broken(
            f"update card.authorizations set {change} where authorization_id = %s", decision
        )
        differences = world.replay(decision).differences
        assert any(found in check.name for check in differences), differences
    finally:
        world.broken("delete from card.authorizations where authorization_id = %s", decision)
        world.broken("insert into card.authorizations select * from kept")
        world.broken("drop table kept")
    assert world.replay(decision).is_equal


def test_an_earlier_decision_that_is_gone_is_missed(world):
    decision = some_decision(world, "card_version = 10")
    world.broken(
        "create table gone as select * from card.authorizations where card_version = 9"
        " and card_id = (select card_id from card.authorizations where authorization_id = %s)",
        decision,
    )
    world.broken("delete from card.authorizations where authorization_id in"
                 " (select authorization_id from gone)")  # fmt: skip
    names = [check.name for check in world.replay(decision).differences]
    world.broken("insert into card.authorizations select * from gone")
    world.broken("drop table gone")
    assert "decisions of the card before" in names
    assert "card_attempts_24h" in names
    assert world.replay(decision).is_equal


def test_a_key_finds_its_decision_and_money_is_told(world):
    with psycopg.connect(world.database.app) as connection:
        decision, key = connection.execute(
            "select authorization_id::text, idempotency_key from card.authorizations"
            " where reason_code = 'AMOUNT_LIMIT_EXCEEDED' limit 1"
        ).fetchone()
    replay = world.replay(key)
    assert replay.authorization_id == decision
    assert any("America/New_York" in spend.name for spend in replay.stood.spends)


def test_what_is_not_there_or_was_taken_elsewhere_is_said(world):
    with pytest.raises(NotReplayable, match="no decision has the id or idempotency key 'nobody'"):
        world.replay("nobody")
    with psycopg.connect(world.database.admin) as owner:
        owner.execute(
            "insert into card.authorizations (authorization_id, idempotency_key, request_hash,"
            " card_id, amount_minor, currency, merchant_id, mcc, merchant_country, channel,"
            " decision, response_code, reason_code, rule_hits, facts, rule_version, requested_at,"
            " decided_at) values (gen_random_uuid(), 'imported', repeat('a', 64), %s, 1, 'USD',"
            " 'M', '5411', 'US', 'CHIP', 'APPROVED', '00', 'APPROVED', '[]', '{}', 'import', now(),"
            " now())",
            (world.cards[0].card_id,),
        )
    with pytest.raises(NotReplayable, match="was taken elsewhere"):
        world.replay("imported")
