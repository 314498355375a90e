"""F1 to F3, F8 to F10, F29, F32: capture killed at random. Nothing lost, nothing made up."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest

from connectors import register
from millrace.stack import Stack
from tests.faults import capture_invariants as invariants
from tests.faults.capture_client import DELETE, INSERT, OK, UPDATE, Client
from tests.faults.capture_invariants import CUSTOMERS, Record
from tests.topic_log import Log

pytestmark = pytest.mark.stack
# Stored offsets are written each second, and are on their way for a moment.
FLUSHED_WITHIN_S = 4


@pytest.fixture
def admin(stack: Stack) -> str:
    return stack.env["MILLRACE_OLTP_ADMIN_DSN"]


@pytest.fixture
def client(admin: str, seed: int) -> Client:
    return Client(admin, seed)


def unharmed(client: Client, stack: Stack) -> None:
    wrong = invariants.violations(client, stack.env)
    assert not wrong, "\n".join(wrong[:30])


def log_of(stack: Stack, *keys: str) -> list[Record]:
    found = invariants.of_messages(Log(stack.env).read(CUSTOMERS))
    return [r for r in found if r.key in keys and r.op != invariants.TOMBSTONE]


def arrived(stack: Stack, key: str, wanted: Callable[[list[Record]], bool]) -> list[Record]:
    deadline = time.monotonic() + 60
    while not wanted(found := log_of(stack, key)):
        assert time.monotonic() < deadline, f"{key} has only {found}"
        time.sleep(0.2)
    return found


def killed(stack: Stack, part: str) -> None:
    """Killed as soon as it runs: writers do not wait until a part that was killed is back."""
    deadline = time.monotonic() + 60
    while stack.pid(part) is None:
        assert time.monotonic() < deadline, f"{part} did not come back"
        time.sleep(0.1)
    stack.kill(part)


def test_f1_f3_connect_and_postgres_are_killed_while_writers_write(stack, client, seed) -> None:
    """Which, and after how many commits, is the seed's choice."""
    rng = random.Random(seed)
    with client.writing():
        for part in ("connect", *rng.sample(["connect", "postgres"], 2)):
            client.until(ok=rng.randint(20, 120))
            print(f"SIGKILL to {part} after {client.count(OK)} commits")
            killed(stack, part)
        client.until(ok=50)
    unharmed(client, stack)
    assert register.status(stack.env["MILLRACE_CONNECT"]).state == register.RUNNING


def test_f9_f10_interleaved_transactions_and_what_was_rolled_back(stack, admin, client) -> None:
    """The later commit wrote first: its LSN is lower, its place in order is not."""
    early, late, gone = (str(uuid4()) for _ in range(3))
    with psycopg.connect(admin) as slow, psycopg.connect(admin) as quick:
        slow.execute(INSERT, (late, f"late-{late}"))
        quick.execute(INSERT, (early, f"early-{early}"))
        quick.commit()
        arrived(stack, early, lambda found: len(found) == 1)
        assert log_of(stack, late) == []
        slow.execute("savepoint s")
        slow.execute(UPDATE, (f"undone-{late}", late))
        slow.execute("rollback to savepoint s")
        quick.execute(INSERT, (gone, f"gone-{gone}"))
        quick.execute(DELETE, (early,))
        quick.rollback()
        slow.commit()
    client.write(150)
    (second,) = arrived(stack, late, bool)
    (first,) = log_of(stack, early)
    assert second.order[2] < first.order[2]
    assert second.order > first.order
    assert second.value == f"late-{late}"
    unharmed(client, stack)
    assert log_of(stack, gone) == []


def test_f32_tables_are_read_again_while_writers_write_and_the_stream_wins(
    stack, admin, client
) -> None:
    client.write(300)
    with client.writing():
        read = invariants.read_again(stack.env, "credit.offers")
    assert read["customer.customers"] >= 100
    unharmed(client, stack)
    ours = {w.key for t in client.history for w in t.writes}
    rows = [r for r in log_of(stack, *ours) if r.op == "r"]
    assert rows
    # Each was overtaken by nothing older than itself, and by what came later where there was more.
    assert invariants.in_order(client, log_of(stack, *ours)) == []
    with psycopg.connect(admin) as connection:
        assert connection.execute("select count(*) from ops.signal").fetchone() == (0,)


@pytest.mark.long
def test_f32_connect_is_killed_while_it_reads_again(stack, admin, client, seed) -> None:
    """It goes on with the chunk it was at, and whoever follows it sees it end."""
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.cursor().executemany(
            INSERT, [(str(uuid4()), f"many-{seed}-{uuid4()}") for _ in range(8000)]
        )
    done: list[dict[str, int]] = []
    thread = threading.Thread(
        target=lambda: done.append(invariants.read_again(stack.env, "credit.offers"))
    )
    with client.writing():
        client.until(ok=20)
        thread.start()
        time.sleep(random.Random(seed).uniform(0.5, 3))
        killed(stack, "connect")
        thread.join(timeout=150)
    assert done
    unharmed(client, stack)


@pytest.mark.long
def test_f2_paused_and_killed_before_it_stored_its_offsets(stack, client) -> None:
    """What comes twice is at most what was written since the last flush."""
    before = invariants.duplicates(invariants.of_messages(Log(stack.env).read(CUSTOMERS)))
    with client.writing():
        client.until(ok=300)
        pid = stack.pid("connect")
        assert pid
        os.kill(pid, signal.SIGSTOP)
        paused_at = time.time()
        time.sleep(30)
        os.kill(pid, signal.SIGKILL)
        client.until(ok=100)
    unharmed(client, stack)
    records = invariants.of_messages(Log(stack.env).read(CUSTOMERS))
    repeated = invariants.duplicates(records) - before
    window = sum(
        len(t.writes)
        for t in client.history
        if paused_at - FLUSHED_WITHIN_S <= t.began_s <= paused_at
    )
    print(f"{repeated} changes came twice, {window} were written in the window")
    assert repeated <= window


@pytest.mark.long
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "rolled back"])
def test_f8_a_long_transaction_across_a_restart_is_whole_or_nothing(
    stack, admin, client, seed, committed
) -> None:
    keys = [str(uuid4()) for _ in range(10_000)]
    with psycopg.connect(admin) as connection, client.writing():
        connection.cursor().executemany(
            INSERT, [(key, f"long-{seed}-{key}") for key in keys[:5000]]
        )
        client.until(ok=50)
        killed(stack, "connect")
        client.until(ok=50)
        connection.cursor().executemany(
            INSERT, [(key, f"long-{seed}-{key}") for key in keys[5000:]]
        )
        register.wait_until_streaming(stack.env["MILLRACE_CONNECT"])
        killed(stack, "connect")
        if committed:
            connection.commit()
        else:
            connection.rollback()
        client.until(ok=50)
    unharmed(client, stack)
    found = {r.key for r in log_of(stack, *keys)}
    print(f"{len(found)} of {len(keys)} rows of the long transaction are in the log")
    assert len(found) == (len(keys) if committed else 0)


@pytest.mark.long
def test_f29_the_registry_is_away_and_connect_starts_without_it(stack, client) -> None:
    """New schemas wait, nothing is parked or passed over, and the watch brings the task back."""
    with client.writing():
        client.until(ok=30)
        stack.stop("registry")
        client.until(ok=100)  # known schemas go on
        killed(stack, "connect")
        time.sleep(20)
        stack.start("registry")
        client.until(ok=50)
    unharmed(client, stack)
