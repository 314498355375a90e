"""Writes staged rows, a few thousand a transaction: what is there already is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import psycopg
from psycopg import sql

from oltp import posting
from oltp.importing.building import Batch
from oltp.importing.catalog import ENTRIES, SUBJECT_KEYS
from oltp.importing.staging import name_of

CHUNK = 5_000
Progress = Callable[[str, int, int], None]


@dataclass
class Written:
    """Rows of a table that a run brought, and how many of them were new."""

    rows: int = 0
    new: int = 0


def write(
    connection: psycopg.Connection, batches: list[Batch], progress: Progress
) -> list[Written]:
    """Write all batches in order; interrupted, the next run does what is left."""
    done = []
    for number, batch in enumerate(batches):
        wrote = Written(len(batch.rows))
        progress(batch.table, 0, len(batch.rows))
        for begin in range(0, len(batch.rows), CHUNK):
            end = min(begin + CHUNK, len(batch.rows))
            with connection.transaction():
                if batch.table == ENTRIES:
                    wrote.new += _post(connection, batch, begin, end)
                else:
                    wrote.new += _insert(connection, number, batch, begin, end)
            progress(batch.table, end, len(batch.rows))
        done.append(wrote)
    return done


def _insert(connection: psycopg.Connection, number: int, batch: Batch, begin: int, end: int) -> int:
    columns = sql.SQL(", ").join(map(sql.Identifier, batch.rows[0]))
    done = connection.execute(
        sql.SQL(
            "insert into {table} ({columns}) select {columns} from {stage}"
            " where _n >= %s and _n < %s order by _n on conflict do nothing"
        ).format(
            table=sql.Identifier(*batch.table.split(".")), columns=columns, stage=name_of(number)
        ),
        (begin, end),
    )
    if batch.keys:
        _insert_keys(connection, batch.keys[begin:end])
    return done.rowcount


def _insert_keys(connection: psycopg.Connection, keys: list[dict[str, Any]]) -> None:
    """A customer's key is written once, with the customer. Imports may not read keys."""
    columns = sql.SQL(", ").join(map(sql.Identifier, keys[0]))
    connection.execute(
        "create temp table import_keys (customer_id uuid, wrapped_key bytea, kek_version integer)"
        " on commit drop"
    )
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy import_keys ({}) from stdin").format(columns)) as copy,
    ):
        for key in keys:
            copy.write_row(tuple(key.values()))
    connection.execute(
        sql.SQL(
            "insert into {} ({columns}) select {columns} from import_keys on conflict do nothing"
        ).format(sql.Identifier(*SUBJECT_KEYS.split(".")), columns=columns)
    )


def _post(connection: psycopg.Connection, batch: Batch, begin: int, end: int) -> int:
    entries = batch.rows[begin:end]
    postings: list[dict[str, Any]] = []
    for entry in entries:
        debit, credit, amount, currency = batch.postings[entry["entry_id"]]
        postings += posting.move(entry["entry_id"], debit, credit, amount, currency)
    return posting.post(connection, entries, postings)


def in_order(batch: Batch) -> None:
    """Entries in the order they took effect; within a moment in the file's."""
    paired = sorted(
        zip(batch.rows, batch.origins, strict=True), key=lambda pair: _when(pair[0]["effective_at"])
    )
    batch.rows = [row for row, _ in paired]
    batch.origins = [origin for _, origin in paired]


def _when(value: date | datetime) -> datetime:
    if isinstance(value, datetime):
        return value
    return datetime.combine(value, time(), UTC)
