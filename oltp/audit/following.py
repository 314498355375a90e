"""The sealer as a process: seals what has ended, signs checkpoints, makes partitions ahead."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import psycopg

from oltp.audit import canonical
from oltp.audit.checkpoints import Book
from oltp.audit.sealing import seal

PARTITIONS_EVERY_S = 3600.0
LONGEST_PAUSE_S = 30.0


def follow(
    dsn: str,
    book: Book | None,
    stop: Event,
    *,
    every_s: float = 1.0,
    checkpoint_every_s: float = 60.0,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Seal until `stop` is set, and once more then; how many changes that was.

    A database that goes away is waited for, longer each time. Raises CheckpointError, and signs
    nothing, where the chain does not go on from the last checkpoint: a person must look.
    """
    sealed, pause = 0, every_s
    while True:
        ending = stop.is_set()
        try:
            with canonical.connect(dsn) as connection:
                sealed += _while_connected(connection, book, stop, every_s, checkpoint_every_s, say)
            return sealed
        except psycopg.OperationalError as error:
            if ending:
                return sealed
            say(f"no database, trying again in {pause:.0f} s: {str(error).strip()}")
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)


def _while_connected(
    connection: psycopg.Connection,
    book: Book | None,
    stop: Event,
    every_s: float,
    checkpoint_every_s: float,
    say: Callable[[str], None],
) -> int:
    sealed = 0
    signed_at = partitions_at = float("-inf")
    while True:
        ending = stop.is_set()
        now = time.monotonic()
        if now - partitions_at >= PARTITIONS_EVERY_S:
            with connection.transaction():
                for (name,) in connection.execute("select audit.ensure_partitions()"):
                    say(f"made partition audit.{name}")
            partitions_at = now
        if done := seal(connection):
            sealed += done
            say(f"sealed {done}")
        if book and (ending or now - signed_at >= checkpoint_every_s):
            if made := book.sign(connection):
                say(f"signed a checkpoint of {made.count} entries")
            signed_at = now
        if ending:
            return sealed
        stop.wait(every_s)
