"""F17, F18 and F19: Redis is killed, emptied, set back, full, slow and silent.

Worker and gateway reach it through one proxy for all of them. Whatever happens to it, decisions
come from Postgres in time, nobody goes beyond a limit, and the copies are true again afterwards.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from millrace.stack import Stack
from tests.cards import UsableCard, eventually, new_card, query
from tests.faults import invariants
from tests.faults.proxy import Proxy
from tests.faults.routes import deciding, killed, own_gateway, proxied_redis
from tests.faults.swipes import Swipes

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("unharmed")]
PATH = "/v1/authorizations"
DEADLINE_MS = 1000
LIMIT_MINOR = 1000
HELD = "select held_minor + posted_minor from card.card_accounts where account_id = %s"


@pytest.fixture(scope="module")
def proxied(stack: Stack) -> Iterator[tuple[Proxy, str]]:
    with proxied_redis(stack, "worker") as found:
        yield found


@pytest.fixture
def proxy(stack: Stack, proxied: tuple[Proxy, str]) -> Iterator[Proxy]:
    proxy, _ = proxied
    deciding(stack)
    yield proxy
    proxy.heal()


@pytest.fixture
def gateway(
    stack: Stack, tmp_path: Path, proxy: Proxy, proxied: tuple[Proxy, str]
) -> Iterator[httpx.Client]:
    """A gateway of the test's own that reaches Redis as the worker does."""
    with own_gateway(stack, tmp_path, MILLRACE_REDIS=proxied[1]) as client:
        yield client


@pytest.fixture
def admin(stack: Stack) -> Iterator[redis.Redis]:
    """Redis without the proxy."""
    with redis.Redis.from_url(stack.env["MILLRACE_REDIS"]) as client:
        yield client


@pytest.fixture
def card(stack: Stack) -> UsableCard:
    return new_card(stack.env["MILLRACE_OLTP_DSN"], credit_limit_minor=LIMIT_MINOR)


def test_a_killed_redis_lets_nobody_spend_twice(
    stack: Stack, gateway: httpx.Client, card: UsableCard, swipes: Swipes
) -> None:
    spend(gateway, card, 4)
    swipes.send(500)
    killed(stack, "redis")
    swipes.send(500)
    swipes.flush()
    assert_only_the_limit_is_spent(stack, gateway, card, spent=4)


def test_an_emptied_redis_lets_nobody_spend_twice(
    stack: Stack, gateway: httpx.Client, card: UsableCard, swipes: Swipes, admin: redis.Redis
) -> None:
    spend(gateway, card, 4)
    swipes.send(500)
    admin.flushall()
    swipes.send(500)
    swipes.flush()
    assert_only_the_limit_is_spent(stack, gateway, card, spent=4)


def test_an_old_dump_lets_nobody_spend_twice(
    stack: Stack, gateway: httpx.Client, card: UsableCard, swipes: Swipes
) -> None:
    """What Redis knew before five purchases comes back after them."""
    spend(gateway, card, 2)
    folder = stack.layout.home / "redis"
    kept = folder.with_name("redis-kept")
    stack.stop("redis")
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    stack.start("redis")
    spend(gateway, card, 5)
    swipes.send(300)
    swipes.flush()
    stack.stop("redis")
    shutil.rmtree(folder)
    kept.rename(folder)
    stack.start("redis")
    swipes.send(300)
    swipes.flush()
    assert_only_the_limit_is_spent(stack, gateway, card, spent=7)


def test_a_full_redis_changes_no_decision(
    stack: Stack, gateway: httpx.Client, card: UsableCard, swipes: Swipes, admin: redis.Redis
) -> None:
    before = admin.config_get("maxmemory")["maxmemory"]
    spend(gateway, card, 4)
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            admin.set("one-more", "1")
        swipes.send(300)
        swipes.flush()
        assert_only_the_limit_is_spent(stack, gateway, card, spent=4)
        invariants.drained(stack.env)
    finally:
        admin.config_set("maxmemory", before)


@pytest.mark.parametrize("fault", ["slow", "silent", "cut"])
def test_a_redis_that_does_not_answer_costs_no_caller_its_deadline(
    stack: Stack, gateway: httpx.Client, card: UsableCard, proxy: Proxy, fault: str
) -> None:
    spend(gateway, card, 4)
    {"slow": lambda: proxy.latency(2.0), "silent": proxy.half_open, "cut": proxy.cut}[fault]()
    took = []
    for _ in range(10):
        began = time.monotonic()
        answer = ask(gateway, card)
        took.append(time.monotonic() - began)
        assert answer["response_code"] in ("00", "51", "91")
    assert max(took) < DEADLINE_MS / 1000 + 0.3, took
    # Once it is left alone, nobody pays for it any more.
    assert sorted(took)[5] < 0.3, took
    assert query(stack.env["MILLRACE_OLTP_DSN"], HELD, card.account_id)[0][0] <= LIMIT_MINOR
    proxy.heal()
    eventually(lambda: not ask(gateway, card)["stand_in"])


def spend(gateway: httpx.Client, card: UsableCard, times: int) -> None:
    for _ in range(times):
        answer = ask(gateway, card, deadline_ms=10_000)
        assert answer["response_code"] == "00", answer


def assert_only_the_limit_is_spent(
    stack: Stack, gateway: httpx.Client, card: UsableCard, spent: int
) -> None:
    """Twelve more are asked for; as many are approved as the limit leaves."""
    answers = [ask(gateway, card, deadline_ms=10_000) for _ in range(12)]
    approved = sum(answer["response_code"] == "00" for answer in answers)
    assert approved == LIMIT_MINOR // 100 - spent, answers
    assert query(stack.env["MILLRACE_OLTP_DSN"], HELD, card.account_id) == [(LIMIT_MINOR,)]


def ask(
    gateway: httpx.Client, card: UsableCard, deadline_ms: int = DEADLINE_MS
) -> dict[str, object]:
    answer = gateway.post(PATH, json=card.body(100, deadline_ms=deadline_ms))
    assert answer.status_code == 200, answer.text
    return answer.json()
