"""The journal of stand-in answers: on disk before anybody hears them, kept until Kafka knows them.

A file of SQLite with full synchronisation, written by one thread in batches, so that the loop never
waits for a disk. One gateway has it at a time. What was told for a key is read from it again, so a
repeat gets the same answer even when the gateway was killed in between.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)
# Answers are repeated from here for as long as anybody may ask again.
KEPT_S = 7 * 24 * 3600
BATCH_MAX = 256
SCHEMA = """
create table if not exists answers (
    key text primary key,
    request_hash text not null,
    card_id text not null,
    approved_minor integer not null,
    told_at real not null,
    -- What was asked and what was told, as JSON.
    request blob not null,
    answer blob not null,
    -- When Kafka had the advice of it.
    known_at real
);
create index if not exists unknown on answers (card_id, approved_minor) where known_at is null;
create index if not exists waiting on answers (told_at) where known_at is null;
create index if not exists over on answers (known_at) where known_at is not null;
"""
WRITE = """
insert or replace into answers
    (key, request_hash, card_id, approved_minor, told_at, request, answer)
values (?, ?, ?, ?, ?, ?, ?)
"""
TOLD = """
select key, request_hash, card_id, approved_minor, told_at, request, answer
from answers where key = ?
"""
WAITING = """
select key, request_hash, card_id, approved_minor, told_at, request, answer
from answers where known_at is null order by told_at limit ?
"""
OPEN = """
select count(*), coalesce(sum(approved_minor), 0)
from answers where card_id = ? and approved_minor > 0 and known_at is null
"""


class JournalUnwritable(Exception):
    """The answer is not on disk, so it must not be given."""


@dataclass(frozen=True)
class Entry:
    """One answer. `approved_minor` is 0 for a decline."""

    key: str
    request_hash: str
    card_id: str
    approved_minor: int
    told_at: float
    request: bytes
    answer: bytes


@dataclass(frozen=True)
class _Job:
    """A statement to be carried out, and who waits for it to be on disk."""

    statement: str
    rows: Sequence[tuple[Any, ...]]
    done: asyncio.Future[None]


class Journal:
    """The journal in a folder; nothing is opened before `start`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stand-ins.sqlite"
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock: IO[str] | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self.problem: str | None = None
        # Most of the time nobody has stood in for days, and nothing needs to be looked up.
        self._has_any = False

    def start(self) -> None:
        """Open the file, if that is possible now; else each write tries again."""
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._fails(error)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what was given to write."""
        self._jobs.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        if self._lock is not None:
            self._lock.close()

    async def write(self, entry: Entry) -> None:
        """Returns when the answer is on disk; JournalUnwritable when it will not be."""
        row = (
            entry.key,
            entry.request_hash,
            entry.card_id,
            entry.approved_minor,
            entry.told_at,
            entry.request,
            entry.answer,
        )
        self._has_any = True
        await self._do(WRITE, [row])

    async def known(self, keys: Sequence[str]) -> None:
        """Kafka has the advice of these answers."""
        now = time.time()
        await self._do("update answers set known_at = ? where key = ?", [(now, k) for k in keys])

    async def forget(self) -> None:
        """Drop what Kafka has had for so long that nobody asks again."""
        await self._do("delete from answers where known_at < ?", [(time.time() - KEPT_S,)])

    def told(self, key: str) -> Entry | None:
        """The answer of a key."""
        if not self._has_any:
            return None
        rows = self._read(TOLD, (key,))
        return Entry(*rows[0]) if rows else None

    def waiting(self, most: int) -> list[Entry]:
        """Answers whose advice Kafka does not have yet, oldest first."""
        return [Entry(*row) for row in self._read(WAITING, (most,))]

    def open_of(self, card_id: str) -> tuple[int, int]:
        """How many approvals of a card, and how much, nobody but this journal may know."""
        rows = self._read(OPEN, (card_id,))
        return rows[0] if rows else (0, 0)

    def backlog(self) -> tuple[int, float]:
        """How many answers wait for Kafka, and the age of the oldest in seconds."""
        rows = self._read("select count(*), min(told_at) from answers where known_at is null", ())
        count, oldest = rows[0] if rows else (0, None)
        return count, 0.0 if oldest is None else max(0.0, time.time() - oldest)

    def _read(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Reads never wait for the writer: the file has a write-ahead log."""
        if self._reader is None:
            return []
        try:
            return self._reader.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            self._fails(error)
            return []

    async def _do(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(statement, rows, done))
        await done

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            while len(jobs) < BATCH_MAX and not self._jobs.empty():
                jobs.append(self._jobs.get())
            asked = [job for job in jobs if job is not None]
            try:
                self._commit(asked)
                _settle(asked, None)
            except Exception as error:  # whatever it was, who waits must hear of it
                self._fails(error)
                _settle(asked, JournalUnwritable(f"the journal cannot be written: {error}"))
            if None in jobs:
                return

    def _commit(self, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        writer = self._writer or self._open()
        try:
            writer.execute("begin immediate")
            for job in jobs:
                writer.executemany(job.statement, job.rows)
            writer.execute("commit")
        except sqlite3.Error:
            if writer.in_transaction:
                writer.execute("rollback")
            raise
        self.problem = None

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            lock = self._file.with_suffix(".lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.close()
                raise OSError(f"another gateway has {self._file}; give this one its own") from error
            self._lock = lock
        writer = _connect(self._file)
        writer.executescript(SCHEMA)
        (has_any,) = writer.execute("select exists (select 1 from answers)").fetchone()
        self._has_any = self._has_any or bool(has_any)
        self._reader, self._writer = _connect(self._file), writer
        return writer

    def _fails(self, error: Exception) -> None:
        self.problem = str(error) or repr(error)
        log.error("the journal of stand-in answers: %s", self.problem)


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=0.2, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    return connection


def _settle(jobs: Sequence[_Job], error: Exception | None) -> None:
    """Tell who waits, each on its own loop; one that has ended waits no more."""

    def tell(done: asyncio.Future[None]) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    for job in jobs:
        loop = job.done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, job.done)
