"""Writes lives into the operational database: a chunk of customers a transaction, by COPY.

A customer that is there has been written whole, with all that is theirs: the next run leaves them
as they are, whatever has happened to them since. So a run that was broken off is simply run again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Queue

import psycopg
from psycopg import sql

from oltp.simulator.rows import Rows, columns_of, encode
from oltp.simulator.tables import COLUMNS, TABLES

# Chunks that are made while another is being written: memory stays bounded.
WAITING = 1
BLOCK_BYTES = 1 << 20
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Chunk:
    """Some customers' rows, encoded; tables in the order of writing."""

    customers: int
    tables: tuple[tuple[str, tuple[str, ...], int, bytes], ...]


@dataclass
class Written:
    """Rows that were new, by table."""

    added: Counter[str] = field(default_factory=Counter)


def chunk(customers: int, rows: Rows) -> Chunk:
    """Encode the rows of some customers, parents first."""
    unknown = [name for name in rows.by_table if name not in TABLES and rows.by_table[name]]
    if unknown:
        raise LookupError(f"no order of writing for {', '.join(unknown)}")
    return Chunk(
        customers,
        tuple(
            (name, columns_of(made, COLUMNS.get(name, ())), len(made), encode(made))
            for name in TABLES
            if (made := rows.by_table.get(name))
        ),
    )


def write(dsn: str, chunks: Iterable[Chunk], progress: Callable[[int], None]) -> Written:
    """Write the chunks in order, each in one transaction; made and written at the same time."""
    written = Written()
    with psycopg.connect(dsn, autocommit=True) as connection:
        # A crash may lose the last chunks, whole; the next run writes them again.
        connection.execute("set synchronous_commit = off")
        # Triggers plan with some joins disabled, at costs that compiling would seem to pay for.
        connection.execute("set jit = off")
        connection.execute("set timezone = 'UTC'")
        stages: dict[str, sql.Composed] = {}
        for ready in _ahead(chunks):
            with connection.transaction():
                for name, columns, count, data in ready.tables:
                    if name not in stages:
                        stages[name] = _stage(connection, name, columns)
                    _copy(connection, name, columns, data)
                    connection.execute(stages[name])
                    written.added[name] += count
            progress(ready.customers)
    return written


def _stage(connection: psycopg.Connection, table: str, columns: tuple[str, ...]) -> sql.Composed:
    """A temporary table to copy into; the statement that moves its rows on.

    COPY refuses tables with row-level security, and all that belongs to a customer has it.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    known = {"stage": _staged(table), "table": sql.Identifier(*table.split(".")), "names": names}
    connection.execute(
        sql.SQL(
            "create temp table {stage} on commit delete rows as"
            " select {names} from {table} with no data"
        ).format(**known)
    )
    return sql.SQL("insert into {table} ({names}) select {names} from {stage}").format(**known)


def _staged(table: str) -> sql.Identifier:
    return sql.Identifier("stage_" + table.replace(".", "_"))


def _copy(
    connection: psycopg.Connection, table: str, columns: tuple[str, ...], data: bytes
) -> None:
    into = sql.SQL("copy {} ({}) from stdin").format(
        _staged(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    view = memoryview(data)
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for start in range(0, len(data), BLOCK_BYTES):
            copy.write(view[start : start + BLOCK_BYTES])


def _ahead(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The chunks, made in a thread of their own while earlier ones are written."""
    ready: Queue[Chunk | BaseException | None] = Queue(WAITING)

    def make() -> None:
        try:
            for made in chunks:
                ready.put(made)
            ready.put(None)
        except BaseException as error:  # raised again where the chunks are used
            ready.put(error)

    threading.Thread(target=make, daemon=True).start()
    while (made := ready.get()) is not None:
        if isinstance(made, BaseException):
            raise made
        yield made
