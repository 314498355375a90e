"""Reads tables again while the stream goes on: asks Debezium by a signal, follows its notices.

A chunk is read between two marks in the log; a row that the stream changes meanwhile is left out of
it, so the stream wins. What is read again comes as `r`, at the position of its chunk's mark. It may
be interrupted at any time: Debezium goes on where it was.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from connectors.register import ConnectorError
from schemas import topics

# A signal's data has at most 2,048 characters.
TABLES_PER_SIGNAL = 40
BEGIN_WITHIN_S = 120.0
DONE, READ, BUSY, ABORTED = "COMPLETED", "TABLE_SCAN_COMPLETED", "IN_PROGRESS", "ABORTED"
GOOD = frozenset({"SUCCEEDED", "EMPTY"})


@dataclass(frozen=True)
class Step:
    """Something that happened: a chunk or a table read (`rows` then are all of the table's)."""

    table: str
    is_read: bool
    rows: int | None
    tables_read: int
    tables: int


def snapshot(
    *,
    oltp_dsn: str,
    kafka: str,
    registry_url: str,
    tables: Sequence[str],
    within_s: float = 3600,
    progress: Callable[[Step], None] = lambda step: None,
) -> dict[str, int]:
    """Rows read per table (`schema.table`); returns once all of them are in Kafka."""
    read: dict[str, int] = {}
    for start in range(0, len(tables), TABLES_PER_SIGNAL):
        some = tables[start : start + TABLES_PER_SIGNAL]
        with _Notices(kafka, registry_url) as notices:
            name = f"snapshot-{uuid4().hex}"
            _signal(oltp_dsn, name, some)
            try:
                followed = notices.of(name, time.monotonic() + within_s)
                for table, is_read, rows in _events(followed, some):
                    if is_read:
                        read[table] = rows or 0
                    progress(Step(table, is_read, rows, len(read), len(tables)))
            finally:
                _take_away(oltp_dsn, name)
    return read


def _signal(oltp_dsn: str, name: str, tables: Sequence[str]) -> None:
    data = {"type": "incremental", "data-collections": list(tables)}
    with psycopg.connect(oltp_dsn, autocommit=True) as connection:
        connection.execute(
            "insert into ops.signal (id, type, data) values (%s, 'execute-snapshot', %s)",
            (name, json.dumps(data, separators=(",", ":"))),
        )


def _take_away(oltp_dsn: str, name: str) -> None:
    with psycopg.connect(oltp_dsn, autocommit=True) as connection:
        connection.execute("delete from ops.signal where id = %s", (name,))


def _events(
    notices: Iterator[Mapping[str, Any]], tables: Sequence[str]
) -> Iterator[tuple[str, bool, int | None]]:
    """(table, whether it is read, its rows) until the last one is; raises for one that failed."""
    failed: dict[str, str] = {}
    for notice in notices:
        said: Mapping[str, str] = notice["additional_data"] or {}
        if notice["type"] == READ:
            table = _short(said["scanned_collection"])
            if said.get("status") not in GOOD:
                failed[table] = str(said.get("status"))
            yield table, True, int(said.get("total_rows_scanned") or 0)
        elif notice["type"] == BUSY:
            yield _short(said.get("current_collection_in_progress", "")), False, None
        elif notice["type"] == ABORTED:
            raise ConnectorError(f"the snapshot of {', '.join(tables)} was stopped by somebody")
        elif notice["type"] == DONE:
            break
    if failed:
        words = ", ".join(f"{table} ({status})" for table, status in sorted(failed.items()))
        raise ConnectorError(f"not read again: {words}. Connect's log says why")


def _short(collection: str) -> str:
    """`schema.table`, without the database in front that some versions put there."""
    return ".".join(collection.split(".")[-2:])


class _Notices:
    """Reads the topic of notices from its present end."""

    def __init__(self, kafka: str, registry_url: str) -> None:
        from confluent_kafka import Consumer

        self._registry = registry_url
        self._schemas: dict[int, Any] = {}
        self._consumer = Consumer(
            {"bootstrap.servers": kafka, "group.id": str(uuid4()), "log_level": 0}
        )

    def __enter__(self) -> _Notices:
        from confluent_kafka import TopicPartition

        topic = topics.NOTICES
        known = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        if not known:
            raise ConnectorError(f"there is no topic {topic}: `millrace topics apply` makes it")
        ends = {p: self._consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in known}
        self._consumer.assign([TopicPartition(topic, p, end) for p, end in ends.items()])
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def of(self, name: str, deadline: float) -> Iterator[Mapping[str, Any]]:
        """Notices about this signal, as they come."""
        begin_by = time.monotonic() + BEGIN_WITHIN_S
        has_begun = False
        while True:
            record = self._consumer.poll(1.0)
            if record is not None and not record.error() and (value := record.value()):
                notice = self._decoded(value)
                if notice["id"] == name:
                    has_begun = True
                    yield notice
            now = time.monotonic()
            if now > deadline:
                raise ConnectorError("the snapshot takes longer than allowed; it goes on by itself")
            if not has_begun and now > begin_by:
                raise ConnectorError(
                    "the connector has not begun the snapshot: does it run, and are these tables"
                    " captured? (`millrace connectors status`)"
                )

    def _decoded(self, data: bytes) -> Mapping[str, Any]:
        import fastavro

        number = int.from_bytes(data[1:5], "big")
        if number not in self._schemas:
            answer = httpx.get(f"{self._registry}/schemas/ids/{number}", timeout=15)
            text = answer.raise_for_status().json()["schema"]
            self._schemas[number] = fastavro.parse_schema(json.loads(text))
        value = fastavro.schemaless_reader(io.BytesIO(data[5:]), self._schemas[number], None)
        return dict(value) if isinstance(value, Mapping) else {}
