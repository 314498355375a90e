"""What every authorization fault shares: a seed that is printed, and the invariants afterwards."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from millrace.stack import Stack
from tests.conftest import temporary_stack
from tests.faults import copies, invariants
from tests.faults.invariants import Marks
from tests.faults.routes import own_gateway
from tests.faults.swipes import Card, Swipes, make_cards


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The address of a Kafka of its own, which only the lake's faults fill and read."""
    for stack in temporary_stack(("kafka",)):
        yield stack.env["MILLRACE_KAFKA"]


@pytest.fixture
def seed() -> int:
    """Drives the test; printed when it fails. MILLRACE_FAULT_SEED repeats a run."""
    found = int(os.environ.get("MILLRACE_FAULT_SEED") or random.SystemRandom().randrange(10**6))
    print(f"MILLRACE_FAULT_SEED={found}")
    return found


@pytest.fixture
def unharmed(stack: Stack) -> Iterator[None]:
    """Afterwards everything that was asked has one outcome, and every invariant holds."""
    since = Marks.of(stack.env)
    yield
    invariants.drained(stack.env)
    wrong = invariants.books(stack.env["MILLRACE_OLTP_ADMIN_DSN"])
    wrong += invariants.accounted(stack.env, since)
    is_captured = stack.status()["connect"].running
    wrong += copies.settled(stack.env, only=None if is_captured else copies.WRITTEN_THROUGH)
    assert not wrong, "\n".join(wrong[:30])


@pytest.fixture
def cards(stack: Stack, seed: int) -> list[Card]:
    """Forty accounts of their own."""
    return make_cards(stack.env["MILLRACE_OLTP_ADMIN_DSN"], 40, seed, limit_minor=50_000)


@pytest.fixture
def swipes(stack: Stack, cards: list[Card], seed: int) -> Swipes:
    """Traffic for them, straight to the topic."""
    return Swipes(stack.env, cards, seed)


@pytest.fixture
def gateway(stack: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """A gateway of the test's own, over HTTP."""
    with own_gateway(stack, tmp_path) as client:
        yield client
