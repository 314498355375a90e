"""Authorizations on real services: gateway, Kafka, the Faust worker, Redis and Postgres."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import redis
from confluent_kafka import Producer

from millrace.stack import Stack
from schemas import keys, topics
from schemas.events import AuthorizationRequested as Requested
from schemas.events import request_hash
from serving.decider import Decider
from serving.wire import RegistryUnavailable, Wire
from streams.risk import policy as risk
from tests.cards import UsableCard, eventually, new_card, query

pytestmark = pytest.mark.stack
PATH = "/v1/authorizations"
HELD = """
select a.held_minor, count(h.*), coalesce(sum(h.amount_minor), 0),
    (select coalesce(sum(p.amount_minor), 0) from ledger.postings p
     where p.ledger_account_id = a.account_id and p.layer = 'HELD')
from card.card_accounts a left join card.holds h on h.account_id = a.account_id
where a.account_id = %s group by a.account_id
"""


@pytest.fixture
def dsn(stack: Stack) -> str:
    return stack.env["MILLRACE_OLTP_DSN"]


@pytest.fixture
def card(dsn: str) -> UsableCard:
    return new_card(dsn)


@pytest.fixture
async def gateway(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=100)
    url = stack.env["MILLRACE_GATEWAY"]
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        yield client


@contextmanager
def without(stack: Stack, part: str) -> Iterator[None]:
    """The part is stopped inside and started again afterwards."""
    stack.stop(part)
    try:
        yield
    finally:
        stack.start(part)


async def ask(gateway: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await gateway.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def decider(stack: Stack) -> AsyncIterator[Decider]:
    """The way to the worker without a gateway that would stand in for it."""
    async with httpx.AsyncClient() as client:
        wire = Wire(stack.env["MILLRACE_REGISTRY"], client)
        async with asyncio.timeout(60):
            while True:  # the registry may still miss a Postgres that an earlier test has stopped
                with suppress(RegistryUnavailable):
                    await wire.prepare()
                    break
                await asyncio.sleep(0.5)
        made = Decider(stack.env["MILLRACE_KAFKA"], wire)
        made.start()
        while not made.is_listening:
            await asyncio.sleep(0.05)
        yield made
        await made.stop()


def request(card: UsableCard, amount_minor: int = 100, deadline_s: float = 60) -> Requested:
    """A request for the card under a key of its own."""
    now = datetime.now(UTC)
    asked: dict[str, Any] = {
        "card_id": card.card_id,
        "amount_minor": amount_minor,
        "currency": "CZK",
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "CZ",
        "channel": "CHIP",
    }
    key = f"T-{uuid.uuid4()}"
    deadline_at = now + timedelta(seconds=deadline_s)
    return Requested(
        **asked,
        request_id=str(uuid.uuid4()),
        idempotency_key=key,
        request_hash=request_hash(**asked),
        requested_at=now,
        deadline_at=deadline_at,
        correlation_id=key,
    )


def once_more(asked: Requested) -> Requested:
    """The same, asked by a caller who waits anew."""
    deadline_at = datetime.now(UTC) + timedelta(seconds=60)
    return replace(asked, request_id=str(uuid.uuid4()), deadline_at=deadline_at)


async def test_an_approval_holds_the_amount_and_enters_the_ledger(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    answer = await ask(gateway, card.body(1250))
    assert (answer["decision"], answer["response_code"]) == ("APPROVED", "00")
    assert (answer["approved_amount_minor"], answer["currency"]) == (1250, "CZK")
    assert query(dsn, HELD, card.account_id) == [(1250, 1, 1250, 1250)]


async def test_the_same_key_gets_the_same_answer_and_another_body_a_conflict(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    body = card.body(700)
    first = await ask(gateway, body)
    again = await ask(gateway, body)
    assert again["replayed"]
    assert {**again, "replayed": False, "latency_ms": 0} == {**first, "latency_ms": 0}
    other = await gateway.post(PATH, json=body | {"amount_minor": 701})
    assert (other.status_code, other.json()["title"]) == (
        409,
        "The key was used before for another request",
    )
    assert query(dsn, HELD, card.account_id) == [(700, 1, 700, 700)]
    stored = (await gateway.get(f"{PATH}/{body['network_transaction_id']}")).json()
    assert stored["authorization_id"] == first["authorization_id"]


async def test_the_idempotency_key_header_is_the_key(
    gateway: httpx.AsyncClient, card: UsableCard
) -> None:
    key = {"Idempotency-Key": f"K-{uuid.uuid4()}"}
    body = card.body()
    first = (await gateway.post(PATH, json=body, headers=key)).json()
    other = {**body, "network_transaction_id": "T-other"}
    again = (await gateway.post(PATH, json=other, headers=key)).json()
    assert again["replayed"]
    assert again["authorization_id"] == first["authorization_id"]


async def test_an_unknown_card_is_declined_with_14_and_kept(
    gateway: httpx.AsyncClient, card: UsableCard
) -> None:
    body = card.body(card_id=str(uuid.uuid4()))
    answer = await ask(gateway, body)
    assert (answer["decision"], answer["response_code"]) == ("DECLINED", "14")
    stored = (await gateway.get(f"{PATH}/{body['network_transaction_id']}")).json()
    assert stored["account_id"] is None
    assert [hit["reason"] for hit in stored["rule_hits"]] == ["UNKNOWN_CARD"]


async def test_an_unknown_key_is_not_found(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get(f"{PATH}/never-seen")).status_code == 404


async def test_a_card_that_was_just_blocked_is_refused_at_once_whatever_the_copies_say(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    assert (await ask(gateway, card.body()))["response_code"] == "00"
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update card.cards set status = 'STOLEN' where card_id = %s", (card.card_id,)
        )
    assert (await ask(gateway, card.body()))["response_code"] == "43"


async def test_credit_that_was_just_raised_is_granted_at_once_whatever_the_copies_say(
    gateway: httpx.AsyncClient, dsn: str
) -> None:
    card = new_card(dsn, credit_limit_minor=100)
    assert (await ask(gateway, card.body(100)))["response_code"] == "00"
    assert (await ask(gateway, card.body(50)))["response_code"] == "51"
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update card.card_accounts set credit_limit_minor = 150 where account_id = %s",
            (card.account_id,),
        )
    assert (await ask(gateway, card.body(50)))["response_code"] == "00"


async def test_50_concurrent_requests_with_one_key_are_one_decision(
    gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    body = card.body(300)
    answers = await asyncio.gather(*(ask(gateway, body) for _ in range(50)))
    assert {a["authorization_id"] for a in answers} == {answers[0]["authorization_id"]}
    assert [a["replayed"] for a in answers].count(False) == 1
    assert query(dsn, HELD, card.account_id) == [(300, 1, 300, 300)]


@pytest.mark.parametrize("limits", [{"credit_limit_minor": 1099}, {"daily_count_limit": 10}])
async def test_50_concurrent_requests_at_a_limit_of_10_are_exactly_10_approvals(
    gateway: httpx.AsyncClient, dsn: str, limits: dict[str, int]
) -> None:
    card = new_card(dsn, **limits)
    answers = await asyncio.gather(*(ask(gateway, card.body(100)) for _ in range(50)))
    codes = sorted(answer["response_code"] for answer in answers)
    refused = "51" if "credit_limit_minor" in limits else "65"
    assert codes == ["00"] * 10 + [refused] * 40
    assert query(dsn, HELD, card.account_id) == [(1000, 10, 1000, 1000)]


BAD_MESSAGES = {
    "wire_format": b"\x01nonsense",
    "unknown_schema": b"\x00\x00\x0f\x42\x3fxyz",
    "empty": b"",
}


async def test_what_cannot_be_decoded_is_filed_with_its_bytes_and_the_agent_goes_on(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard, dsn: str
) -> None:
    producer = Producer({"bootstrap.servers": stack.env["MILLRACE_KAFKA"]})
    marker = uuid.uuid4().bytes
    for value in BAD_MESSAGES.values():
        producer.produce(topics.AUTHORIZATION_REQUESTED, key=marker, value=value)
    producer.flush()
    assert (await ask(gateway, card.body()))["response_code"] == "00"
    found = """
        select message_value, topic, error_class, partition >= 0 and "offset" >= 0
        from ops.dead_letters where message_key = %s
    """
    eventually(lambda: len(query(dsn, found, marker)) == len(BAD_MESSAGES))
    rows = query(dsn, found, marker)
    assert {bytes(row[0]) for row in rows} == set(BAD_MESSAGES.values())
    assert {row[1] for row in rows} == {topics.AUTHORIZATION_REQUESTED}
    assert {row[2] for row in rows} == {"wire_format", "unknown_schema"}
    assert all(row[3] for row in rows)


async def test_features_follow_from_the_decisions_and_equal_a_recount_from_the_database(
    stack: Stack, gateway: httpx.AsyncClient, dsn: str
) -> None:
    card = new_card(dsn, credit_limit_minor=250)
    for merchant in ("M-1", "M-2", "M-2"):
        await ask(gateway, card.body(100, merchant_id=merchant))
    path = f"/v1/features/card/{card.card_id}"
    reader = redis.Redis.from_url(stack.env["MILLRACE_REDIS"])
    eventually(lambda: reader.zcard(keys.velocity("card", card.card_id)) == 3)
    eventually(lambda: httpx.get(str(gateway.base_url) + path).json()["source"] == "redis")
    vector = (await gateway.get(path)).json()
    columns = "authorization_id, decided_at, decision, amount_minor, merchant_id, merchant_country"
    names = columns.split(", ")
    rows = query(dsn, f"select {columns} from card.authorizations where card_id = %s", card.card_id)
    attempts = [risk.attempt(dict(zip(names, row, strict=True))) for row in rows]
    as_of_ms = risk.milliseconds(datetime.fromisoformat(vector["as_of"]))
    assert vector["values"] == risk.vector("card", attempts, as_of_ms)
    assert vector["values"]["card_spend_1h"] == 200
    assert vector["values"]["card_declines_1h"] == 1
    assert vector["has_history"]
    assert vector["lsn"] is not None
    moment = datetime.fromisoformat(vector["newest_event_at"])
    assert moment <= datetime.now(UTC)


async def test_an_entity_without_history_has_defaults_and_says_so(
    gateway: httpx.AsyncClient,
) -> None:
    vector = (await gateway.get(f"/v1/features/account/{uuid.uuid4()}")).json()
    assert set(vector["values"].values()) == {0}
    assert (vector["has_history"], vector["newest_event_at"]) == (False, None)


def test_snapshots_follow_updates_and_deletes_of_the_rows(stack: Stack, dsn: str) -> None:
    card = new_card(dsn)
    reader = redis.Redis.from_url(stack.env["MILLRACE_REDIS"], decode_responses=True)
    key = keys.card_snapshot(card.card_id)
    eventually(lambda: reader.hget(key, "status") == "ACTIVE")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update card.cards set status = 'LOST' where card_id = %s", (card.card_id,)
        )
    eventually(lambda: reader.hget(key, "status") == "LOST")
    with psycopg.connect(dsn) as connection:
        connection.execute("delete from card.cards where card_id = %s", (card.card_id,))
    eventually(lambda: reader.hget(key, "status") is None)
    assert list(reader.hgetall(key)) == ["_position"]


async def test_without_redis_decisions_and_features_come_from_postgres(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard
) -> None:
    with without(stack, "redis"):
        assert (await ask(gateway, card.body(100)))["response_code"] == "00"
        assert (await ask(gateway, card.body(10**9)))["response_code"] == "51"
        vector = (await gateway.get(f"/v1/features/card/{card.card_id}")).json()
        assert (vector["source"], vector["values"]["card_attempts_1h"]) == ("postgres", 2)
        health = await gateway.get("/health")
        assert health.status_code == 200
        assert health.json()["parts"]["redis"]["status"] == "warn"
    assert (await ask(gateway, card.body(100)))["response_code"] == "00"
    path = f"{gateway.base_url}/v1/features/card/{card.card_id}"

    def attempts() -> tuple[str, int]:
        found = httpx.get(path).json()
        return found["source"], found["values"]["card_attempts_1h"]

    eventually(lambda: attempts() == ("redis", 3))


async def test_without_the_registry_known_schemas_go_on_working(
    stack: Stack, gateway: httpx.AsyncClient, card: UsableCard
) -> None:
    await ask(gateway, card.body())
    with without(stack, "registry"):
        assert (await ask(gateway, card.body()))["response_code"] == "00"
        assert (await gateway.get("/health")).json()["parts"]["registry"]["status"] == "warn"


async def test_what_waited_past_its_deadline_is_refused_and_takes_no_key(
    stack: Stack, decider: Decider, card: UsableCard, dsn: str
) -> None:
    late = request(card, deadline_s=0.3)
    with without(stack, "worker"):
        answer = asyncio.create_task(decider.ask(late, 60))
        await asyncio.sleep(1)
    assert (await answer).reason_code == "DEADLINE_EXCEEDED"
    assert (await answer).response_code == "91"
    assert query(dsn, HELD, card.account_id) == [(0, 0, 0, 0)]
    again = await decider.ask(once_more(late), 60)
    assert (again.response_code, again.replayed) == ("00", False)


async def test_a_stopped_postgres_parks_requests_and_loses_none(
    stack: Stack, decider: Decider, card: UsableCard, dsn: str
) -> None:
    await decider.ask(request(card), 60)
    with without(stack, "postgres"):
        answers = [asyncio.create_task(decider.ask(request(card), 60)) for _ in range(5)]
        await asyncio.sleep(3)
        assert not any(answer.done() for answer in answers)
        health = httpx.get(f"{stack.env['MILLRACE_WORKER']}/health").json()
        assert health["status"] == "warn"
        assert health["agents"]["authorization"]["waits_for"]
    assert {(await answer).response_code for answer in answers} == {"00"}
    assert query(dsn, HELD, card.account_id) == [(600, 6, 600, 600)]


async def test_a_killed_worker_s_successor_goes_on_where_it_was(
    stack: Stack, decider: Decider, card: UsableCard, dsn: str
) -> None:
    asked = [request(card) for _ in range(200)]
    answers = [asyncio.create_task(decider.ask(one, 90)) for one in asked]
    await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    stack.kill("worker")
    found = [await answer for answer in answers]
    assert {one.response_code for one in found} <= {"00", "59"}
    approved = sum(one.response_code == "00" for one in found)
    held = (100 * approved, approved, 100 * approved, 100 * approved)
    assert query(dsn, HELD, card.account_id) == [held]
    numbers = "select card_version from card.authorizations where card_id = %s order by 1"
    assert query(dsn, numbers, card.card_id) == [(n,) for n in range(1, 201)]


async def test_the_worker_says_what_it_decides_and_how_long_that_took(
    stack: Stack, decider: Decider, card: UsableCard
) -> None:
    await decider.ask(request(card), 60)
    text = httpx.get(f"{stack.env['MILLRACE_WORKER']}/metrics").text
    for name in (
        'millrace_decisions_total{reason="APPROVED",replayed="false"}',
        "millrace_decision_seconds_count",
        'millrace_stream_batch_records_count{agent="authorization"}',
        'millrace_breaker_state{breaker="redis"}',
        'millrace_facts_total{source="postgres"}',
        'millrace_histories_total{source="postgres"}',
    ):
        assert name in text
