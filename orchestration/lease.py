"""One run at a time, and proof of life: a run holds a session lock in the warehouse database.

The lock ends with the process that holds it, however it ends, on whatever host. So a run that is
marked as started but holds no lock is an orphan, and a second run cannot touch the lake beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

LOCK = 0x6D696C6C  # any constant of our own: "mill"
PREFIX = "millrace-run:"


class LakeBusyError(RuntimeError):
    """Another run holds the lake; it is named."""


@contextmanager
def hold(dsn: str, run_id: str, patience_s: float = 600) -> Iterator[None]:
    """Own the lake for as long as the block runs; waits up to `patience_s` for its turn."""
    with psycopg.connect(dsn, autocommit=True, application_name=PREFIX + run_id) as connection:
        until = time.monotonic() + patience_s
        while not _try_lock(connection):
            if time.monotonic() > until:
                raise LakeBusyError(f"waited {patience_s:.0f} s for {', '.join(_holders(dsn))}")
            time.sleep(0.2)
        yield


@contextmanager
def presence(dsn: str, run_id: str) -> Iterator[None]:
    """Show that the run's process is there; for runs that do not touch the lake."""
    with psycopg.connect(dsn, autocommit=True, application_name=PREFIX + run_id):
        yield


def alive(dsn: str) -> set[str]:
    """The ids of the runs whose process is there, waiting ones included."""
    return set(_holders(dsn))


def _try_lock(connection: psycopg.Connection) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    return bool(row and row[0])


def _holders(dsn: str) -> list[str]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "select application_name from pg_stat_activity "
            "where datname = current_database() and starts_with(application_name, %s)",
            (PREFIX,),
        ).fetchall()
    return [name.removeprefix(PREFIX) for (name,) in rows]
