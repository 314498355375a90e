"""F14, F15 and F16: workers are killed after the effect, come and go, and hang and are killed."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from millrace.stack import Stack
from tests.cards import eventually, query
from tests.faults import invariants
from tests.faults.invariants import Worked
from tests.faults.routes import another_worker, deciding, killed
from tests.faults.swipes import Card, Swipes

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("unharmed")]
STORED = "select count(*) from card.authorizations where idempotency_key = %s"
ANSWERS = "select count(*), count(distinct authorization_id) from card.authorizations where idempotency_key = any(%s)"  # noqa: E501


def test_a_worker_killed_between_the_effect_and_the_commit_repeats_it_without_another_effect(
    stack: Stack, cards: list[Card], swipes: Swipes
) -> None:
    """The broker is frozen, so neither answer nor commit can leave the worker before it dies."""
    dsn = stack.env["MILLRACE_OLTP_ADMIN_DSN"]
    deciding(stack)
    request = swipes.request(card_id=cards[0].card_id, amount_minor=100)
    broker = stack.pid("kafka")
    assert broker is not None
    with locked(dsn, cards[0]):
        swipes.send_one(request)
        swipes.flush()
        eventually(lambda: waits_for_a_lock(dsn), within_s=10)
        os.kill(broker, signal.SIGSTOP)
    try:
        eventually(lambda: query(dsn, STORED, request.idempotency_key) == [(1,)], within_s=10)
        worker = stack.kill("worker")
    finally:
        os.kill(broker, signal.SIGCONT)
    eventually(lambda: stack.pid("worker") not in (None, worker))
    invariants.drained(stack.env)
    assert query(dsn, STORED, request.idempotency_key) == [(1,)]


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.long)])
def test_workers_killed_at_random_in_traffic_decide_everything_once(
    stack: Stack, swipes: Swipes, seed: int, kills: int
) -> None:
    dice = random.Random(seed)
    for _ in range(kills):
        swipes.send(800)
        time.sleep(dice.uniform(0, 1.5))
        killed(stack, "worker")
    swipes.send(400)
    swipes.flush()
    invariants.drained(stack.env)


def test_a_worker_counts_what_it_consumes(stack: Stack, swipes: Swipes) -> None:
    deciding(stack)
    invariants.drained(stack.env)
    before = Worked.of(stack.env)
    swipes.send(500)
    for value in (b"", b"\x01nonsense", b"\x00\x00\x0f\x42\x3fxyz"):
        swipes.send_bytes(value)
    swipes.flush()
    invariants.drained(stack.env)
    assert invariants.counted(before, Worked.of(stack.env)) == []


@pytest.mark.parametrize(
    ("rounds", "pause_s"), [(2, 2.5), pytest.param(24, 5, marks=pytest.mark.long)]
)
def test_workers_that_come_and_go_skip_nothing_and_repeat_no_effect(
    stack: Stack, swipes: Swipes, seed: int, rounds: int, pause_s: float
) -> None:
    dice = random.Random(seed)
    for _ in range(rounds):
        with another_worker(stack) as worker:
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                swipes.send(60)
                time.sleep(0.2)
            if dice.random() < 0.5:
                worker.kill()
    swipes.flush()
    invariants.drained(stack.env, within_s=120)


@pytest.mark.parametrize("seconds", [6, pytest.param(100, marks=pytest.mark.long)])
def test_a_handler_that_hangs_and_is_killed_loses_neither_its_message_nor_those_behind(
    stack: Stack, cards: list[Card], swipes: Swipes, seconds: int
) -> None:
    deciding(stack)
    requests = [swipes.request(card_id=cards[1].card_id, amount_minor=100 + n) for n in range(20)]
    with locked(stack.env["MILLRACE_OLTP_ADMIN_DSN"], cards[1]):
        for request in requests:
            swipes.send_one(request)
        swipes.send(200)  # in other partitions too
        swipes.flush()
        time.sleep(seconds)
        killed(stack, "worker")
    invariants.drained(stack.env)
    keys = [request.idempotency_key for request in requests]
    assert query(stack.env["MILLRACE_OLTP_ADMIN_DSN"], ANSWERS, keys) == [(20, 20)]


@contextmanager
def locked(dsn: str, card: Card) -> Iterator[None]:
    """Nobody can decide for the card's account inside."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "select from card.card_accounts where account_id = %s for update", (card.account_id,)
        )
        yield


def waits_for_a_lock(dsn: str) -> bool:
    waiting = "select count(*) from pg_locks where not granted"
    return query(dsn, waiting)[0][0] > 0
