"""The checkers find what they are there for: each is shown a fault that was made for it."""

import json
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import redis

from millrace.stack import Stack
from schemas import keys
from streams.cache import policy as cache
from tests.cards import UsableCard, new_card
from tests.conftest import temporary_stack
from tests.faults import copies, invariants

pytestmark = pytest.mark.postgres
DECISION = """
insert into card.authorizations (
    authorization_id, idempotency_key, request_hash, card_id, account_id, amount_minor, currency,
    merchant_id, mcc, merchant_country, channel, decision, response_code, reason_code, rule_hits,
    facts, rule_version, requested_at, decided_at)
values (%(id)s, %(key)s, repeat('0', 64), %(card)s, %(account)s, 100, 'CZK', 'M-1', '5411', 'CZ',
    'CHIP', 'APPROVED', '00', 'APPROVED', '[]', '{}', 'test', now(), now())
"""
HOLD = """
insert into card.holds (
    hold_id, authorization_id, account_id, amount_minor, currency, expires_at)
values (gen_random_uuid(), %s, %s, 100, 'CZK', now() - interval '1 minute')
"""


@pytest.fixture(scope="module")
def stores() -> Iterator[Stack]:
    yield from temporary_stack(("postgres", "redis"))


@pytest.fixture
def reader(stores: Stack) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(stores.env["MILLRACE_REDIS"], decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def card(stores: Stack) -> UsableCard:
    return new_card(stores.env["MILLRACE_OLTP_DSN"])


def write_snapshot(stores: Stack, reader: redis.Redis, card: UsableCard) -> str:
    with psycopg.connect(
        stores.env["MILLRACE_OLTP_DSN"], row_factory=psycopg.rows.dict_row
    ) as connection:
        row = connection.execute(
            "select * from card.cards where card_id = %s", (card.card_id,)
        ).fetchone()
    (edit,) = cache.edits("cards", None, row)
    reader.hset(edit.key, mapping={**edit.fields, edit.guard: "1"})
    return edit.key


def test_a_true_copy_differs_in_nothing(
    stores: Stack, reader: redis.Redis, card: UsableCard
) -> None:
    write_snapshot(stores, reader, card)
    assert copies.differences(stores.env) == []


def test_a_field_that_is_not_as_the_row_says_is_found(
    stores: Stack, reader: redis.Redis, card: UsableCard
) -> None:
    key = write_snapshot(stores, reader, card)
    reader.hset(key, "status", "BLOCKED")
    assert copies.differences(stores.env) == [f"I10 {key} status: 'BLOCKED', and it is 'ACTIVE'"]


def test_a_copy_of_a_row_that_is_gone_is_found(stores: Stack, reader: redis.Redis) -> None:
    key = keys.card_snapshot(str(uuid.uuid4()))
    reader.hset(key, mapping={"status": "ACTIVE", cache.POSITION: "1"})
    assert len(copies.differences(stores.env)) == 1
    reader.hdel(key, "status")
    assert copies.differences(stores.env) == []


def test_a_key_that_nobody_can_recompute_is_found(stores: Stack, reader: redis.Redis) -> None:
    reader.set("made-up", "1")
    assert copies.differences(stores.env) == ["I10 made-up: nobody can recompute this key"]


def test_attempts_that_never_were_and_attempts_that_are_missing_are_found(
    stores: Stack, reader: redis.Redis, card: UsableCard
) -> None:
    key = keys.velocity("card", card.card_id)
    reader.zadd(key, {json.dumps(["made up"]): 1})
    (line,) = copies.differences(stores.env)
    assert "1 members that Postgres does not know" in line
    reader.delete(key)
    with psycopg.connect(stores.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        decide(connection, card)
        connection.commit()
        reader.hset(
            keys.velocity_meta("card", card.card_id),
            "complete",
            reader.info("server")["run_id"],
        )
        assert copies.differences(stores.env)  # a mark of completeness over an empty set
        connection.execute("delete from card.authorizations where card_id = %s", (card.card_id,))


def test_a_hold_beyond_its_time_and_an_approval_without_an_entry_are_found(
    stores: Stack, card: UsableCard
) -> None:
    dsn = stores.env["MILLRACE_OLTP_ADMIN_DSN"]
    assert invariants.books(dsn) == []
    with psycopg.connect(dsn) as connection:
        authorization = decide(connection, card)
        connection.execute(HOLD, (authorization, card.account_id))
        connection.commit()
        found = "\n".join(invariants.books(dsn))
        assert "its time was over at" in found
        assert "nothing was held" in found
        assert "without entries" in found
        connection.execute("delete from card.holds where authorization_id = %s", (authorization,))
        connection.execute(
            "delete from card.authorizations where authorization_id = %s", (authorization,)
        )
    assert invariants.books(dsn) == []


def decide(connection: psycopg.Connection, card: UsableCard) -> str:
    authorization = str(uuid.uuid4())
    connection.execute(
        DECISION,
        {
            "id": authorization,
            "key": f"T-{authorization}",
            "card": card.card_id,
            "account": card.account_id,
        },
    )
    return authorization
