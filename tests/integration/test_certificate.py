"""Ticks on real services are certified hop by hop; a tampered message is named by its own hop."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import fastavro
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from delta.tables import DeltaTable

from millrace.stack import Stack
from orchestration import whole
from orchestration.run import RefreshResult, refresh
from orchestration.settings import Settings
from pipelines import bronze, delta, lake
from pipelines import cut as cuts
from pipelines.certificate import ledger
from pipelines.refresh import build_silver
from pipelines.registry import WriterSchemas
from pipelines.visibility import Cut
from schemas import contract as contracts
from tests.conftest import temporary_stack

pytestmark = pytest.mark.stack
CERTIFICATE = "control/certificates"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: breaks are made on purpose."""
    yield from temporary_stack(("postgres", "redis", "kafka", "registry", "connect"))


def run(dsn: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def customers(dsn: str, count: int) -> list[UUID]:
    made = [uuid4() for _ in range(count)]
    with psycopg.connect(dsn) as connection:
        connection.cursor().executemany(
            "insert into customer.customers (customer_id, country) values (%s, 'DE')",
            [(one,) for one in made],
        )
    return made


def told(result: RefreshResult) -> dict[str, Any]:
    return {name: getattr(v, "value", v) for name, v in result.metadata[CERTIFICATE].items()}


def hops(warehouse: str, cut_id: int | None, entity: str) -> dict[str, tuple[int, int]]:
    rows = run(
        warehouse,
        "select hop, changes, digest::text from control.certificates"
        " where cut_id = %s and entity = %s",
        cut_id,
        entity,
    )
    return {hop: (changes, int(digest)) for hop, changes, digest in rows}


def test_ticks_are_certified_and_a_quiet_one_costs_nothing(
    stack: Stack, stack_env: dict[str, str]
) -> None:
    source, warehouse = stack_env["MILLRACE_OLTP_ADMIN_DSN"], stack_env["MILLRACE_WAREHOUSE_DSN"]
    customers(source, 20)
    base = refresh()
    assert base.errors == ()
    assert told(base)["breaks"] == "none"
    assert told(base)["tables"] == len(contracts.load_all())

    made = customers(source, 5)
    run(source, "update customer.customers set country = 'FR' where customer_id = %s", made[0])
    run(source, "delete from customer.customers where customer_id = %s", made[1])
    second = refresh()
    print("second", told(second), second.seconds)
    assert told(second)["breaks"] == "none"
    found = hops(warehouse, second.cut_id, "customers")
    assert found["source"] == found["bronze"] == found["silver"]
    assert found["source"][0] == 7
    assert found["current"][0] == found["warehouse"][0] == 5
    through = run(warehouse, "select count(*), min(cut_id) from control.complete_through")[0]
    assert through == (len(contracts.load_all()), second.cut_id)

    quiet = refresh()
    print("quiet", told(quiet), quiet.seconds)
    assert told(quiet)["seconds"] < 2
    assert hops(warehouse, quiet.cut_id, "customers") == {}


@pytest.mark.long
def test_one_tampered_message_is_named_by_its_hop(
    stack: Stack, stack_env: dict[str, str], spark: Any
) -> None:
    source, warehouse = stack_env["MILLRACE_OLTP_ADMIN_DSN"], stack_env["MILLRACE_WAREHOUSE_DSN"]
    folder, kafka = Path(stack_env["MILLRACE_LAKE"]), stack_env["MILLRACE_KAFKA"]
    contract = contracts.load("customers")
    schemas = WriterSchemas(stack_env["MILLRACE_REGISTRY"])
    customers(source, 3)
    assert told(refresh())["breaks"] == "none"

    # Bronze: one record goes after it was read from Kafka.
    (lost,) = customers(source, 1)
    in_bronze(source, spark, folder, kafka)
    newest = bronze.last_batch(spark, folder)
    change(spark, lake.bronze(folder), f"entity = 'customers' and batch_id = {newest}")
    result = refresh()
    assert named(warehouse) == {("bronze", "missing", str(lost), str(lost))}
    assert "warehouse/customers" in held(result)
    restore(spark, lake.bronze(folder))
    refresh()
    certified(schemas, spark)
    assert named(warehouse) == set()

    # Silver: one row of history is altered after it was built.
    odd, _ = customers(source, 2)
    cut = in_bronze(source, spark, folder, kafka)
    build_silver(spark, folder, contract, cut, schemas)
    history = lake.history(folder, contract)
    change(spark, history, f"customer_id = '{odd}'", country="'XX'")
    result = refresh()
    assert ("silver", "altered", str(odd), str(odd)) in named(warehouse)
    assert "warehouse/customers" in held(result)
    restore(spark, history)
    refresh()
    assert named(warehouse) == set()

    # Warehouse: readers are shown something else.
    with altering(warehouse):
        (shown,) = customers(source, 1)
        refresh()
        assert named(warehouse) == {("warehouse", "altered", str(shown), str(shown))}
    run(warehouse, "update silver.customers set country = 'DE' where customer_id = %s", shown)
    assert told(refresh())["breaks"] == "none"
    assert named(warehouse) == set()

    # Kafka: the last message once more is lawful, another LSN in it is nobody's change.
    value, key = last_message(kafka, contract.topic)
    produce(kafka, contract.topic, key, value)
    customers(source, 1)
    assert told(refresh())["breaks"] == "none"
    forged = with_another_lsn(schemas, value)
    produce(kafka, contract.topic, key, forged)
    customers(source, 1)
    refresh()
    assert {(hop, kind) for hop, kind, *_ in named(warehouse)} == {("capture", "extra")}


@pytest.mark.long
def test_a_tick_without_its_witness_publishes_and_says_so(
    stack: Stack, stack_env: dict[str, str]
) -> None:
    source, warehouse = stack_env["MILLRACE_OLTP_ADMIN_DSN"], stack_env["MILLRACE_WAREHOUSE_DSN"]
    refresh()
    (made,) = customers(source, 1)
    run(source, "select pg_drop_replication_slot('millrace_witness')")
    result = refresh()
    assert told(result)["seconds"] >= 0
    published = run(warehouse, "select 1 from silver.customers where customer_id = %s", made)
    assert published == [(1,)]
    ended = run(warehouse, "select ended_because from control.witnesses where ended_at is not null")
    assert "gone" in ended[-1][0]
    customers(source, 1)
    again = refresh()
    assert hops(warehouse, again.cut_id, "customers")["source"][0] == 1


def in_bronze(source: str, spark: Any, folder: Path, kafka: str) -> Cut:
    """Everything committed so far is in bronze; the cut of that moment."""
    cut = cuts.take(source)
    cuts.wait_for_capture(source, cut, 60)
    bronze.ingest(spark, folder, kafka)
    return cut


def change(spark: Any, path: Path, where: str, **values: str) -> None:
    """Delete or change rows behind everybody's back."""
    table = DeltaTable.forPath(spark, str(path))
    if values:
        table.update(where, values)
    else:
        table.delete(where)


def restore(spark: Any, path: Path) -> None:
    table = DeltaTable.forPath(spark, str(path))
    table.restoreToVersion(delta.last_version(path) - 1)


def certified(schemas: WriterSchemas, spark: Any) -> None:
    found = whole.certify(Settings(), spark, schemas, [contracts.load("customers")])
    assert found.breaks == []


def named(warehouse: str) -> set[tuple[str, str, str, str]]:
    return {
        (one.hop, one.kind, one.first_key, one.last_key)
        for _, _, one in ledger.open_breaks(warehouse)
        if one.entity == "customers"
    }


def held(result: RefreshResult) -> list[str]:
    return [c.asset for c in result.checks if c.name == "is_published" and not c.passed]


@contextmanager
def altering(warehouse: str) -> Iterator[None]:
    """A trigger that shows another country than the lake has."""
    run(
        warehouse,
        "create function silver.odd() returns trigger language plpgsql as"
        " $$ begin new.country := 'XX'; return new; end $$",
    )
    run(
        warehouse,
        "create trigger odd before insert on silver.customers"
        " for each row execute function silver.odd()",
    )
    try:
        yield
    finally:
        run(warehouse, "drop function silver.odd() cascade")


def last_message(kafka: str, topic: str) -> tuple[bytes, bytes]:
    settings = {
        "bootstrap.servers": kafka,
        "group.id": str(uuid4()),
        "auto.offset.reset": "earliest",
    }
    consumer = Consumer({**settings, "enable.partition.eof": True})
    found: list[Any] = []
    partitions = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, n, 0) for n in partitions])
    ended = 0
    while ended < len(partitions):
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            ended += 1
        elif message.value() is not None:
            found.append(message)
    consumer.close()
    newest = max(found, key=lambda m: m.timestamp()[1])
    return newest.value(), newest.key()


def produce(kafka: str, topic: str, key: bytes, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, key=key, value=value)
    assert producer.flush(10) == 0


def with_another_lsn(schemas: WriterSchemas, value: bytes) -> bytes:
    schema = fastavro.parse_schema(json.loads(schemas(int.from_bytes(value[1:5])) or ""))
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    record["source"]["lsn"] += 1
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return value[:5] + out.getvalue()
