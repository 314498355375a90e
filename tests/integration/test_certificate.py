"""Ticks on real services are certified hop by hop; a tampered message is named by its own hop."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import fastavro
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from delta.tables import DeltaTable

from millrace.stack import Stack
from orchestration import control, news, quiet, whole
from orchestration.certifying import Certifying
from orchestration.run import RefreshResult, refresh
from orchestration.settings import Settings
from orchestration.silver_builds import SilverBuilds
from pipelines import bronze, delta, lake, publish
from pipelines import cut as cuts
from pipelines.certificate import ledger
from pipelines.certificate.comparing import Verdict
from pipelines.refresh import build_silver
from pipelines.registry import WriterSchemas
from pipelines.visibility import Cut
from schemas import contract as contracts
from schemas import topics
from tests.conftest import temporary_stack
from tests.faults.capture_invariants import read_again
from tests.faults.test_capture_moves import Torn

pytestmark = pytest.mark.stack
CERTIFICATE = "control/certificates"
CUSTOMERS = contracts.load("customers")


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


def complete_through(dsn: str) -> set[tuple[int, int]]:
    return set(run(dsn, "select distinct cut_id, lsn from control.complete_through"))


def test_silence_is_shown_to_be_silence_and_a_change_that_was_not_brought_is_not(
    stack: Stack, stack_env: dict[str, str]
) -> None:
    settings = Settings()
    source, warehouse = settings.oltp_admin_dsn, settings.warehouse_dsn
    customers(source, 3)
    done = refresh()
    assert told(done)["breaks"] == "none"
    assert done.cut_id is not None
    seen = news.end_offsets(settings.kafka, topics.captured())
    ((at_cut_id, at_lsn),) = complete_through(warehouse)
    assert at_cut_id == done.cut_id
    # Log that is no captured table's: the witness must not keep it.
    run(source, "create table noise as select repeat('x', 1000) from generate_series(1, 20000)")
    first = quiet.confirm(settings, seen)
    assert first.cut_id == done.cut_id
    assert complete_through(warehouse) == {(done.cut_id, first.through.lsn)}
    assert first.through.lsn > at_lsn + 20_000_000
    kept = "select pg_current_wal_lsn() - confirmed_flush_lsn from pg_replication_slots"
    ((behind,),) = run(source, kept + " where slot_name = 'millrace_witness'")
    assert behind < 1_000_000
    assert quiet.confirm(settings, seen).through.lsn > first.through.lsn

    customers(source, 1)
    with pytest.raises(quiet.Unproven, match="changes came"):
        quiet.confirm(settings, seen)
    # As if capture had passed the change and Kafka had lost it: the ends are what a tick had seen.
    lost = news.end_offsets(settings.kafka, topics.captured())
    with pytest.raises(quiet.NotBrought, match="customers"):
        quiet.confirm(settings, lost)
    after = refresh()
    assert told(after)["breaks"] == "none"
    assert quiet.confirm(settings, lost).cut_id == after.cut_id

    # A witness that somebody moved may have passed over anything.
    moved = "select pg_replication_slot_advance('millrace_witness', pg_current_wal_lsn())"
    run(source, "create table more_noise as select 1")
    run(source, moved)
    with pytest.raises(quiet.Unproven, match="certificate"):
        quiet.confirm(settings, lost)


class Small:
    """Ticks of one table without checks and marts: what the certificate makes of them."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.source, self.warehouse = self.settings.oltp_admin_dsn, self.settings.warehouse_dsn
        self.folder, self.kafka = self.settings.lake, self.settings.kafka
        self.schemas = WriterSchemas(self.settings.registry)

    def tick(self, spark: Any) -> list[str]:
        """One tick; why the table was held back."""
        certificate = Certifying(self.settings)
        cut = certificate.take_cut()
        cut_id = control.record_cut(self.warehouse, cut)
        cuts.wait_for_capture(self.source, cut, 60)
        certificate.begin(cut_id, cut)
        bronze.ingest(spark, self.folder, self.kafka)
        builds = SilverBuilds(self.settings, spark, cut, certificate)
        built = builds.of(CUSTOMERS, ())
        builds.close()
        reasons = certificate.held_back_by(CUSTOMERS)
        due = publish.Due(CUSTOMERS, built.increment.rows, built.increment.tick, True,
                          ", ".join(reasons))  # fmt: skip
        publish.publish_together(self.warehouse, cut_id, [due])
        shown = [e for e, (at, _) in control.shown_cuts(self.warehouse).items() if at == cut_id]
        certificate.conclude([CUSTOMERS], shown)
        return reasons

    def in_bronze(self, spark: Any) -> Cut:
        """Everything committed so far is in bronze; the cut of that moment."""
        cut = cuts.take(self.source)
        cuts.wait_for_capture(self.source, cut, 60)
        bronze.ingest(spark, self.folder, self.kafka)
        return cut

    def named(self) -> set[tuple[str, str, str, str]]:
        return {
            (one.hop, one.kind, one.first_key, one.last_key)
            for _, _, one in ledger.open_breaks(self.warehouse)
        }


@pytest.fixture
def small(stack_env: dict[str, str]) -> Small:
    return Small()


@pytest.mark.long
def test_one_tampered_message_in_bronze_is_named_and_mended(small: Small, spark: Any) -> None:
    customers(small.source, 3)
    assert small.tick(spark) == []
    customers(small.source, 2)
    assert small.tick(spark) == []
    assert small.named() == set()
    (lost,) = customers(small.source, 1)
    small.in_bronze(spark)
    newest = bronze.last_batch(spark, small.folder)
    table = lake.bronze(small.folder)
    mine = f"entity = 'customers' and batch_id = {newest}"
    rows = delta.read(spark, table).where(mine).localCheckpoint()
    DeltaTable.forPath(spark, str(table)).delete(mine)
    (reason,) = small.tick(spark)
    assert str(lost) in reason
    assert small.named() == {("bronze", "missing", str(lost), str(lost))}
    rows.write.format("delta").mode("append").save(str(table))
    again = f"batch_id = {newest}"
    build_silver(spark, small.folder, CUSTOMERS, small.in_bronze(spark), small.schemas, again=again)
    found = whole.certify(small.settings, spark, small.schemas, [CUSTOMERS])
    assert found.breaks == []
    assert small.named() == set()
    assert small.tick(spark) == []


@pytest.mark.long
def test_one_tampered_row_of_silver_or_the_warehouse_is_named(small: Small, spark: Any) -> None:
    customers(small.source, 3)
    assert small.tick(spark) == []
    odd, even = customers(small.source, 2)
    build_silver(spark, small.folder, CUSTOMERS, small.in_bronze(spark), small.schemas)
    history = lake.history(small.folder, CUSTOMERS)
    rows = DeltaTable.forPath(spark, str(history))
    rows.update(f"customer_id = '{odd}'", {"country": "'XX'"})
    assert any("silver" in reason for reason in small.tick(spark))
    assert ("silver", "altered", str(odd), str(odd)) in small.named()
    found = whole.certify(small.settings, spark, small.schemas, [CUSTOMERS])
    assert ("silver", "altered") in {(one.hop, one.kind) for one in found.breaks}
    rows.update(f"customer_id = '{odd}'", {"country": "'DE'"})
    whole.certify(small.settings, spark, small.schemas, [CUSTOMERS])
    assert small.named() == set()

    with altering(small.warehouse):
        (shown,) = customers(small.source, 1)
        small.tick(spark)
        # Those that were held back as well: they were proven before readers were given them.
        first, _, last = sorted(map(str, (odd, even, shown)))
        assert small.named() == {("warehouse", "altered", first, last)}
    mend = "update silver.customers set country = 'DE' where customer_id = any(%s)"
    run(small.warehouse, mend, [odd, even, shown])
    assert small.tick(spark) == []
    assert small.named() == set()


@pytest.mark.long
def test_one_tampered_message_in_kafka_is_named(small: Small, spark: Any) -> None:
    small.tick(spark)
    customers(small.source, 1)
    small.in_bronze(spark)
    value, key = last_message(small.kafka, CUSTOMERS.topic)
    produce(small.kafka, CUSTOMERS.topic, key, value)
    assert small.tick(spark) == []  # once more is lawful
    customers(small.source, 1)
    produce(small.kafka, CUSTOMERS.topic, key, with_another_lsn(small.schemas, value))
    (reason,) = small.tick(spark)
    assert "extra at capture" in reason
    assert {(hop, kind) for hop, kind, *_ in small.named()} == {("capture", "extra")}
    # It says what the row says, so the whole table agrees, and the break is settled.
    assert whole.certify(small.settings, spark, small.schemas, [CUSTOMERS]).breaks == []
    assert small.named() == set()


@pytest.mark.long
def test_a_key_change_that_capture_tore_is_named_and_mended_by_reading_again(
    small: Small, spark: Any, stack: Stack
) -> None:
    assert small.tick(spark) == []
    # Here neither of its two records has come.
    torn = Torn(stack)
    torn.tear()
    (reason,) = small.tick(spark)
    assert "missing at capture" in reason
    ((hop, kind, first, last),) = small.named()
    assert (hop, kind) == ("capture", "missing")
    assert {first, last} == {torn.old, torn.new}
    read_again(dict(stack.env))
    found = whole.certify(small.settings, spark, small.schemas, [CUSTOMERS])
    assert found.breaks == []
    assert small.tick(spark) == []


@pytest.mark.long
def test_a_comparison_that_is_stopped_keeps_the_verdicts_that_it_has(
    small: Small, spark: Any
) -> None:
    customers(small.source, 2)
    assert small.tick(spark) == []
    chosen = [contracts.load(name) for name in ("customers", "cards", "holds", "offers")]
    newest = "(select max(cut_id) from control.cuts)"
    kept = f"select entity from control.certificates where mode = 'state' and cut_id = {newest}"
    told: list[str] = []

    def stop_at_the_second(verdict: Verdict, tables: int) -> None:
        told.append(verdict.entity)
        # Kept before it is told.
        assert (verdict.entity,) in run(small.warehouse, kept)
        assert tables == len(chosen)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole.certify(small.settings, spark, small.schemas, chosen, stop_at_the_second)
    assert {(entity,) for entity in told} <= set(run(small.warehouse, kept))
    found = whole.certify(small.settings, spark, small.schemas, chosen)
    assert found.breaks == []
    assert {v.entity for v in found.verdicts} == {c.entity for c in chosen}


@pytest.mark.long
def test_a_tick_without_its_witness_publishes_and_says_so(small: Small, spark: Any) -> None:
    small.tick(spark)
    ledger.settle(small.warehouse, ["customers"], "of another test")
    (made,) = customers(small.source, 1)
    run(small.source, "select pg_drop_replication_slot('millrace_witness')")
    small.tick(spark)
    query = "select 1 from silver.customers where customer_id = %s"
    assert run(small.warehouse, query, made) == [(1,)]
    ended = "select ended_because from control.witnesses where ended_at is not null"
    assert "gone" in run(small.warehouse, ended)[-1][0]


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
