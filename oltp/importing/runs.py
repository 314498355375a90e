"""Keeps what imports did: a run for each mapping and content, a rejection for each refused row.

The same mapping over the same bytes is the same run. One that was completed stays as it is; one
that broke off is taken up again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid5

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from oltp import copying, outbox
from oltp.importing.files import Content
from oltp.importing.mapping import Mapping_
from oltp.importing.parsing import NAMESPACE
from oltp.importing.rejection import Rejection

_BEGIN = """
    insert into ops.import_runs (import_run_id, mapping, fingerprint, progress)
    values (%(id)s, %(mapping)s, %(fingerprint)s, %(progress)s)
    on conflict (import_run_id) do update
    set status = 'RUNNING', completed_at = null, error = null, updated_at = now()
    where import_runs.status <> 'COMPLETED'
"""
_END = """
    update ops.import_runs
    set status = %(status)s, completed_at = now(), updated_at = now(), error = %(error)s,
        progress = %(progress)s, rows_read = %(read)s, rows_taken = %(taken)s,
        rows_known = %(known)s, rows_rejected = %(rejected)s
    where import_run_id = %(id)s and status = 'RUNNING'
    returning completed_at
"""
_FAILED = """
    update ops.import_runs
    set status = 'FAILED', completed_at = now(), updated_at = now(), error = %(error)s
    where import_run_id = %(id)s and status = 'RUNNING'
"""


def fingerprint(mapping: Mapping_, contents: Iterable[tuple[str, Content]]) -> str:
    """SHA-256 over the mapping's text and each file's name and digest."""
    digest = hashlib.sha256(mapping.text)
    for source, content in contents:
        digest.update(f"\0{source}\0{content.name}\0{content.sha256}".encode())
    return digest.hexdigest()


def begin(
    connection: psycopg.Connection, mapping: Mapping_, mark: str, files: Mapping[str, Any],
    rejections: list[Rejection],
) -> UUID:  # fmt: skip
    """The run of this content, open; its rejections are kept before anything is written."""
    run_id = uuid5(NAMESPACE, mark)
    values = {"id": run_id, "mapping": mapping.name, "fingerprint": mark,
              "progress": Jsonb({"files": dict(files)})}  # fmt: skip
    with connection.transaction():
        connection.execute(_BEGIN, values)
        rows = [_row(run_id, mapping.name, rejection) for rejection in rejections]
        copying.add(connection, "ops.import_rejections", rows)
    return run_id


def end(
    connection: psycopg.Connection,
    run_id: UUID,
    mapping: Mapping_,
    counts: Mapping[str, int],
    progress: Mapping[str, Any],
) -> None:
    """The run is done, and announced; a completed one keeps what its first time said."""
    values = {"id": run_id, "status": "COMPLETED", "error": None, **counts}
    with connection.transaction():
        found = connection.execute(_END, values | {"progress": Jsonb(dict(progress))}).fetchone()
        if found is None:
            return
        rows = {f"rows_{name}": count for name, count in counts.items()}
        event = outbox.Event(
            type="credit.import.completed",
            aggregate_id=run_id,
            payload={"mapping": mapping.name, **rows},
            occurred_at=found[0],
            correlation_id=str(run_id),
        )
        outbox.announce(connection, [event])


def fail(connection: psycopg.Connection, run_id: UUID, error: str) -> None:
    """The run broke off; the same import takes it up again."""
    connection.execute(_FAILED, {"id": run_id, "error": error[:2_000] or "unknown"})


def _row(run_id: UUID, mapping: str, rejection: Rejection) -> dict[str, Any]:
    return {
        "import_run_id": run_id,
        "file": rejection.file,
        "line": rejection.line,
        "mapping": mapping,
        "target_table": rejection.table,
        "column_name": rejection.column,
        "value_shown": _storable(rejection.shown),
        "rule": rejection.rule,
        "message": _storable(str(rejection)),
        "original": rejection.original,
    }


def _storable(text: str | None) -> str | None:
    """Postgres takes no NUL in text, nor half a surrogate pair."""
    if text is None:
        return None
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def last(connection: psycopg.Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The latest runs, newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "select * from ops.import_runs order by started_at desc, import_run_id limit %s",
            (limit,),
        )
        return cursor.fetchall()


def find(connection: psycopg.Connection, start: str) -> dict[str, Any] | None:
    """The run whose id begins so; None unless there is exactly one."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "select * from ops.import_runs where starts_with(import_run_id::text, %s) limit 2",
            (start.lower(),),
        )
        found = cursor.fetchall()
    return found[0] if len(found) == 1 else None


def rejections(connection: psycopg.Connection, run_id: UUID, limit: int) -> list[dict[str, Any]]:
    """What a run left out, in the order of the files."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            sql.SQL(
                "select * from ops.import_rejections where import_run_id = %s"
                " order by file, line limit %s"
            ),
            (run_id, limit),
        )
        return cursor.fetchall()
