"""What every authorization fault shares: a seed that is printed, and the invariants afterwards."""

import os
import random
from collections.abc import Iterator

import httpx
import pytest

from millrace.stack import Stack
from tests.faults import copies, invariants
from tests.faults.invariants import Marks
from tests.faults.swipes import Card, Swipes, make_cards


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
    wrong += copies.settled(stack.env)
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
def gateway(stack: Stack) -> Iterator[httpx.Client]:
    """The gateway over HTTP."""
    with httpx.Client(base_url=stack.env["MILLRACE_GATEWAY"], timeout=40) as client:
        yield client
