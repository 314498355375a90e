"""What time does by itself: holds expire, parked messages lapse, next months get their partitions.

Postgres's clock decides what is due, never a worker's. Any number of workers may run this: one of
them works at a time, and what has been done once is not done again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg
from mode import Service

from streams import metrics
from streams.outages import OUTAGES, Backoff

TICK_S = 1.0
# Accounts stay locked while their holds expire: few at a time, so that decisions hardly wait.
MOST = 50
# A connection that says nothing for so long is given up.
SILENCE_S = 10.0
FAILURES: tuple[type[Exception], ...] = (psycopg.Error, *OUTAGES)
OPTIONS = "-c statement_timeout=5000 -c lock_timeout=2000 -c timezone=UTC"


@dataclass(frozen=True)
class Task:
    """A statement that says how much it did; nothing when another worker is at it."""

    name: str
    does: str
    every_s: float = TICK_S
    # Repeated while it does so many at once.
    most: int | None = None

    @property
    def statement(self) -> str:
        """Done by one worker at a time; the lock goes with the statement's transaction."""
        return (
            f"select {self.does} as done"
            f" where pg_try_advisory_xact_lock(hashtext('streams.clock.{self.name}'))"
        )


TASKS = (
    Task("expired_holds", f"card.expire_holds(now(), {MOST})", most=MOST),
    Task("lapsed_messages", "card.lapse_parked(now())"),
    Task(
        "made_partitions",
        "card.ensure_event_partitions(current_date, (current_date + interval '3 months')::date)",
        every_s=86_400,
    ),
)


class Clock(Service):
    """Runs each task when it is due; what fails is tried again, and said once."""

    def __init__(self, dsn: str, **service: Any) -> None:
        super().__init__(**service)
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._backoff = Backoff()
        self._failing: set[str] = set()
        self._due_s = dict.fromkeys((task.name for task in TASKS), 0.0)

    @Service.task
    async def _tick(self) -> None:
        while not self.should_stop:
            await self.sleep(await self.run_due())

    async def run_due(self) -> float:
        """Do what is due; the seconds until the next time."""
        loop = asyncio.get_running_loop()
        for task in TASKS:
            if self._due_s[task.name] > loop.time():
                continue
            try:
                await self._run(task)
            except FAILURES as error:
                self._failed(task, error)
                if self._connection is None or self._connection.closed:
                    return self._backoff.next_s()
            else:
                self._succeeded(task)
                self._due_s[task.name] = loop.time() + task.every_s
        return TICK_S

    async def on_stop(self) -> None:
        """Give the connection back."""
        await self._disconnect()

    async def _run(self, task: Task) -> None:
        is_more = True
        while is_more and not self.should_stop:
            try:
                async with asyncio.timeout(SILENCE_S):
                    connection = await self._connected()
                    row = await (await connection.execute(task.statement)).fetchone()
            except (OSError, TimeoutError):
                await self._disconnect()
                raise
            done = row[0] if row else 0
            metrics.CLOCK.labels(task.name).inc(done)
            is_more = task.most is not None and done >= task.most

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        """A connection of its own: agents never wait for one that expires holds."""
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=3,
                options=OPTIONS,
                application_name="millrace-clock",
            )
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _failed(self, task: Task, error: Exception) -> None:
        metrics.CLOCK_FAILURES.labels(task.name).inc()
        if task.name not in self._failing:
            self._failing.add(task.name)
            self.log.warning("%s, tried again until it succeeds: %s", task.name, error)

    def _succeeded(self, task: Task) -> None:
        self._backoff.reset()
        if task.name in self._failing:
            self._failing.remove(task.name)
            self.log.info("%s: goes on", task.name)
