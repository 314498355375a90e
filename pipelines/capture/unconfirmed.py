"""Rows that a new snapshot did not confirm: deleted while no slot listened. Made good here.

After every table was read again, each live row of silver has been confirmed by a record behind the
gap, except those that are gone. For them a delete is written to their topic as capture would have
written it: same key, same partition, the schema of the row's last record, at a position inside the
gap. So bronze stays the whole truth, and every reader of the topic learns of it.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from confluent_kafka import Producer
from psycopg import sql
from pyspark.sql import SparkSession

from pipelines import delta, lake
from schemas.contract import Contract

HEADER = "millrace.recovered"
WIRE_HEAD = 5


@dataclass(frozen=True)
class Unconfirmed:
    """A live row of silver, with the record that it comes from."""

    entity: str
    topic: str
    partition: int
    key: bytes
    value: bytes
    # The key's columns as Postgres reads them.
    key_text: tuple[str, ...]


def find(
    spark: SparkSession, lake_folder: Path, contract: Contract, between_lsn: int
) -> list[Unconfirmed]:
    """Live rows last changed before the gap. Silver must be at a cut after the snapshot."""
    if not delta.exists(lake.current(lake_folder, contract)):
        return []
    current = delta.read(spark, lake.current(lake_folder, contract))
    keys = [f"cast(`{name}` as string) as _key_{n}" for n, name in enumerate(contract.key)]
    old = current.where(f"not _is_deleted and _commit_lsn < {between_lsn}").selectExpr(
        "_topic as topic", "_partition as partition", "_offset as offset", *keys
    )
    records = (
        delta.read(spark, lake.bronze(lake_folder))
        .where(f"entity = '{contract.entity}'")
        .select("topic", "partition", "offset", "key", "value")
    )
    rows = old.join(records, ["topic", "partition", "offset"]).collect()
    names = [f"_key_{n}" for n in range(len(contract.key))]
    return [
        Unconfirmed(
            contract.entity,
            row["topic"],
            row["partition"],
            bytes(row["key"]),
            bytes(row["value"]),
            tuple(row[name] for name in names),
        )
        for row in rows
        if row["value"] is not None
    ]


def gone(
    oltp_dsn: str, contract: Contract, found: Iterable[Unconfirmed]
) -> tuple[list[Unconfirmed], list[Unconfirmed]]:
    """(those that the source has not, those that it has: their record was kept out of silver)."""
    schema, table = contract.source.split(".")
    same = sql.SQL(" and ").join(
        sql.SQL("{} = %s").format(sql.Identifier(name)) for name in contract.key
    )
    query = sql.SQL("select exists (select from {} where {})").format(
        sql.Identifier(schema, table), same
    )
    missing: list[Unconfirmed] = []
    there: list[Unconfirmed] = []
    with psycopg.connect(oltp_dsn) as connection:
        for row in found:
            answer = connection.execute(query, row.key_text).fetchone()
            (there if answer and answer[0] else missing).append(row)
    return missing, there


def delete(
    bootstrap_servers: str,
    rows: Iterable[Unconfirmed],
    between_lsn: int,
    why: str,
    writer_schemas: Callable[[int], str | None],
) -> int:
    """Write each row's delete and tombstone to its topic; says how many. All, or it raises."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = [(HEADER, why.encode())]
    failed: list[str] = []
    count = 0
    for row in rows:
        value = as_delete(row.value, between_lsn, writer_schemas)
        for payload in (value, None):
            producer.produce(
                row.topic,
                payload,
                row.key,
                row.partition,
                on_delivery=lambda error, _: failed.append(str(error)) if error else None,
                headers=headers,
            )
            producer.poll(0)
        count += 1
    left = producer.flush(60)
    if left or failed:
        raise RuntimeError(f"{left + len(failed)} deletes were not taken by Kafka: {failed[:3]}")
    return count


def as_delete(value: bytes, between_lsn: int, writer_schemas: Callable[[int], str | None]) -> bytes:
    """The record of a row, turned into the record of its delete, in the same schema."""
    import fastavro

    text = writer_schemas(int.from_bytes(value[1:WIRE_HEAD], "big"))
    if text is None:
        raise RuntimeError("the registry no longer knows the schema of a record in bronze")
    schema = fastavro.parse_schema(json.loads(text))
    envelope = fastavro.schemaless_reader(io.BytesIO(value[WIRE_HEAD:]), schema, None)
    if not isinstance(envelope, dict):
        raise RuntimeError("a record in bronze is no envelope")
    now_us = time.time_ns() // 1000
    times = {"ts_ms": now_us // 1000, "ts_us": now_us, "ts_ns": now_us * 1000}
    source = {
        **envelope["source"],
        **{name: time for name, time in times.items() if name in envelope["source"]},
        "snapshot": "false",
        "lsn": between_lsn,
        "sequence": f'["{between_lsn}","{between_lsn}"]',
        "txId": None,
    }
    changed = {
        **envelope,
        **{name: time for name, time in times.items() if envelope.get(name) is not None},
        "op": "d",
        "before": envelope["after"],
        "after": None,
        "source": source,
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, changed)
    return value[:WIRE_HEAD] + out.getvalue()
