"""Loads a clearing file: keeps its lines as they came, then applies each one, once.

    loaded = load(dsn, Path("visa.csv").read_bytes())

What a line became is the card message of its key, so nothing is lost or done twice when a load
breaks off: loading the file again goes on. A file that is complete is recognized by its bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from oltp.reconciling.clearing_file import ClearingFile, ClearingFileError, Line, parse

# Lines of a transaction: their accounts are locked meanwhile, and decisions wait for those.
BATCH = 100
Progress = Callable[[int, int], None]
KNOWN = """
select clearing_file_id, applied_at is not null, file_sha256
from card.clearing_files
where file_sha256 = %(sha256)s or (network = %(network)s and file_ref = %(file_ref)s)
order by file_sha256 = %(sha256)s desc
"""
NEW_FILE = """
insert into card.clearing_files (
    clearing_file_id, file_sha256, network, file_ref, business_date, lines, unreadable_lines)
values (%s, %s, %s, %s, %s, %s, %s)
"""
NEW_TOTAL = """
insert into card.clearing_totals (clearing_file_id, currency, lines, debit_minor, credit_minor)
values (%s, %s, %s, %s, %s)
"""
NEW_LINES = """
copy card.clearing_lines (
    clearing_file_id, line_number, raw, problem, message_key, message_kind, request_hash,
    network_ref, amount_minor, currency, message)
from stdin
"""
APPLY = "select message_key, state, outcome, replayed, conflict from card.apply_messages(%s)"
APPLIED = """
update card.clearing_files set applied_at = clock_timestamp(), updated_at = clock_timestamp()
where clearing_file_id = %s
"""


@dataclass
class Loaded:
    """What became of a file."""

    file: ClearingFile
    # It was complete before: nothing was done.
    is_known: bool = False
    # State and outcome -> lines.
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Line and error of what the database refused to take as it is.
    failed: list[tuple[int, str]] = field(default_factory=list)


def load(dsn: str, content: bytes, progress: Progress = lambda done, total: None) -> Loaded:
    """Load the file of these bytes; raises ClearingFileError when it is refused as a whole."""
    file = parse(content)
    loaded = Loaded(file)
    with psycopg.connect(dsn, autocommit=True) as connection:
        file_id, loaded.is_known = _keep(connection, file)
        if loaded.is_known:
            return loaded
        lines = [line for line in file.lines if line.message]
        for start in range(0, len(lines), BATCH):
            progress(start, len(lines))
            _apply(connection, lines[start : start + BATCH], loaded)
        progress(len(lines), len(lines))
        if not loaded.failed:
            connection.execute(APPLIED, (file_id,))
    return loaded


def _keep(connection: psycopg.Connection, file: ClearingFile) -> tuple[UUID, bool]:
    """The file with its lines, written once; its id, and whether it has been applied."""
    with connection.transaction():
        # Two loads of one file: the second waits for the lines of the first.
        connection.execute(
            "select pg_advisory_xact_lock(hashtext('clearing:' || %s))", (file.file_ref,)
        )
        known = connection.execute(
            KNOWN, {"sha256": file.sha256, "network": file.network, "file_ref": file.file_ref}
        ).fetchone()
        if known is None:
            return _write(connection, file), False
        if known[2] != file.sha256:
            raise ClearingFileError(
                f"{file.network} {file.file_ref} was loaded before with another content;"
                " a correction needs a name of its own"
            )
        return known[0], known[1]


def _write(connection: psycopg.Connection, file: ClearingFile) -> UUID:
    file_id = uuid4()
    connection.execute(
        NEW_FILE,
        (
            file_id,
            file.sha256,
            file.network,
            file.file_ref,
            file.business_date,
            len(file.lines),
            len(file.unreadable),
        ),
    )
    with connection.cursor() as cursor:
        for total in file.totals:
            cursor.execute(
                NEW_TOTAL,
                (file_id, total.currency, total.lines, total.debit_minor, total.credit_minor),
            )
        with cursor.copy(NEW_LINES) as copy:
            for line in file.lines:
                copy.write_row((file_id, line.number, line.raw, line.problem, *_columns(line)))
    return file_id


def _columns(line: Line) -> tuple[Any, ...]:
    if line.message is None:
        return (None,) * 7
    names = ("message_key", "message_kind", "request_hash", "network_ref", "amount_minor")
    return (*(line.message[n] for n in names), line.message["currency"], Jsonb(line.message))


def _apply(connection: psycopg.Connection, lines: Sequence[Line], loaded: Loaded) -> None:
    """Apply some lines in one transaction; where one of them cannot be taken, each in its own."""
    try:
        rows = connection.execute(APPLY, (json.dumps([line.message for line in lines]),)).fetchall()
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        if len(lines) > 1:
            for line in lines:
                _apply(connection, [line], loaded)
            return
        loaded.failed.append((lines[0].number, str(error).partition("\n")[0]))
        return
    for _, state, outcome, _, is_conflict in rows:
        loaded.outcomes[("CONFLICT", "KEY_USED") if is_conflict else (state, outcome)] += 1
