"""Seeded writers to the operational database, and what each was told about its writes.

A write is `ok` (committed), `fail` (surely not) or `info` (nobody told). Each leaves a value that
no other write has, so that whoever finds it in the log knows which write it was.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg

from tests.faults.writers import writing

OK, FAIL, INFO = "ok", "fail", "info"
INSERT = "insert into customer.customers (customer_id, external_ref, country) values (%s, %s, 'CZ')"
UPDATE = "update customer.customers set external_ref = %s where customer_id = %s"
DELETE = "delete from customer.customers where customer_id = %s"
MOVE = "update customer.customers set customer_id = %s, external_ref = %s where customer_id = %s"


@dataclass
class Write:
    """One row change: what the row says afterwards (`value`), or that it is gone (None)."""

    key: str
    value: str | None
    # The key that the row had before, where the change gave it another.
    moved_from: str | None = None


@dataclass
class Transaction:
    """What was asked together, in order, and how it ended; `undone` went back to a savepoint."""

    writer: int
    writes: list[Write] = field(default_factory=list)
    undone: list[Write] = field(default_factory=list)
    outcome: str = INFO
    began_s: float = 0.0


class Client:
    """Several writers with a key space of their own; `history` is what they were told."""

    def __init__(self, dsn: str, seed: int, writers: int = 2, pause_s: float = 0.004) -> None:
        self._dsn, self._pause_s = dsn, pause_s
        self.name = f"{seed:06d}-{time.time_ns() % 10**9:09d}"
        self.history: list[Transaction] = []
        self._randoms = [random.Random(f"{seed}-{n}") for n in range(writers)]
        self._lock = threading.Lock()
        self._counted = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The writers write until the end of the block, whatever happens to the database."""
        with writing(self._write_until, len(self._randoms)):
            yield

    def write(self, transactions: int, writer: int = 0) -> None:
        """So many transactions, here and now."""
        left = iter(range(transactions))
        self._write(lambda: next(left, None) is None, writer)

    def count(self, outcome: str) -> int:
        """Transactions that ended so."""
        return sum(t.outcome == outcome for t in self.history)

    def until(self, ok: int, within_s: float = 60) -> None:
        """Wait until so many more are committed."""
        wanted, deadline = self.count(OK) + ok, time.monotonic() + within_s
        while self.count(OK) < wanted:
            assert time.monotonic() < deadline, f"only {self.count(OK)} of {wanted} were committed"
            time.sleep(0.05)

    def _write_until(self, over: threading.Event, writer: int) -> None:
        self._write(over.is_set, writer)

    def _write(self, is_over: Callable[[], bool], writer: int) -> None:
        rng, live = self._randoms[writer], [k for k, v in self.told(writer).items() if v]
        while not is_over():
            try:
                with psycopg.connect(self._dsn, connect_timeout=5) as connection:
                    while not is_over():
                        self._transact(connection, rng, live, writer)
                        time.sleep(self._pause_s * rng.random())
            except psycopg.Error:
                time.sleep(0.2)

    def told(self, writer: int | None = None) -> dict[str, str | None]:
        """key -> what the last committed write left, by the writers' own words."""
        state: dict[str, str | None] = {}
        for transaction in self.history:
            if transaction.outcome == OK and writer in (None, transaction.writer):
                state.update({write.key: write.value for write in transaction.writes})
        return state

    def _transact(
        self, connection: psycopg.Connection, rng: random.Random, live: list[str], writer: int
    ) -> None:
        """One transaction of one to four changes; one in eight is rolled back, in part or whole."""
        done = Transaction(writer, began_s=time.time())
        planned, rolled_back = list(live), rng.random() < 0.08
        with self._lock:
            self.history.append(done)
        try:
            for _ in range(rng.randint(1, 4)):
                done.writes += self._change(connection, rng, planned)
            if rng.random() < 0.08:
                connection.execute("savepoint s")
                done.undone += self._change(connection, rng, list(planned))
                connection.execute("rollback to savepoint s")
        except psycopg.Error:
            done.outcome = FAIL  # the commit was never sent
            raise
        if rolled_back:
            done.outcome = FAIL
            connection.rollback()
            return
        try:
            connection.commit()
        except psycopg.errors.IntegrityError:
            done.outcome = FAIL
            raise
        except psycopg.Error:
            # It may have been committed: what it touched is left alone from now on.
            touched = {write.key for write in done.writes}
            live[:] = [key for key in live if key not in touched]
            raise
        live[:] = planned
        done.outcome = OK

    def _change(
        self, connection: psycopg.Connection, rng: random.Random, live: list[str]
    ) -> list[Write]:
        value, kind = self._value(), rng.random()
        if kind < 0.35 or not live:
            key = str(uuid4())
            connection.execute(INSERT, (key, value))
            live.append(key)
            return [Write(key, value)]
        old = rng.choice(live)
        if kind < 0.8:
            connection.execute(UPDATE, (value, old))
            return [Write(old, value)]
        live.remove(old)
        if kind < 0.92:
            connection.execute(DELETE, (old,))
            return [Write(old, None)]
        key = str(uuid4())
        connection.execute(MOVE, (key, value, old))
        live.append(key)
        return [Write(old, None), Write(key, value, moved_from=old)]

    def _value(self) -> str:
        with self._lock:
            self._counted += 1
            return f"{self.name}-{self._counted}"
