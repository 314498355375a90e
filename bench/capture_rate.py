"""How fast capture is: changes a second into Kafka, over pg_recvlogical's drain of the same load.

While nothing reads, `pgbench` commits a load (TPC-B: four changes a transaction) that two slots
keep: the connector's, and one that `pg_recvlogical` empties into /dev/null. The connector is
stopped, not paused: a paused one has its queue full already. Its time runs from the request to go
on, so starting is in it, until the high watermarks of the load's topics have risen by as much as
was committed; fewer or more, and the figure is void. A stack of its own; about three minutes.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
from confluent_kafka import Consumer, TopicPartition
from rich import box
from rich.console import Console
from rich.table import Table

from bench.own_stack import own_stack
from bench.pairs import interleave, report
from connectors import config, register
from millrace.stack import Stack, postgres
from schemas import topics

TRANSACTIONS, CHANGES_A_TRANSACTION = 40_000, 4
CLIENTS, SCALE = 4, 10
TABLES = tuple(f"public.pgbench_{name}" for name in ("accounts", "branches", "history", "tellers"))
TARGET = 0.08
OURS, THEIRS = "millrace", "bench"
CONNECTOR = f"/connectors/{config.NAME}"
POLL_S, SETTLED_S, WITHIN_S = 0.05, 1.0, 180.0
PUBLISHED = (
    (
        "Sequin -> Kafka",
        "40,000",
        "RDS -> MSK, one slot; by its vendor: sequinstream.com/docs/performance",
    ),
    (
        "Sequin, earlier",
        "10,000",
        "4 vCPU, 60 min; by its vendor: github.com/sequinstream/sequin docs/performance.mdx",
    ),
    (
        "Debezium",
        "6,000",
        "16 vCPU MSK Connect, its defaults, diverges at 10,000; by Sequin:"
        " github.com/sequinstream/sequin-vs-debezium-benchmark",
    ),
    (
        "Debezium Server",
        "1,500",
        "MySQL, 4 vCPU shared with it and Kafka, the database was the limit; by Debezium:"
        " debezium.io/blog 2026-02-02",
    ),
    (
        "pg_recvlogical",
        "254,000",
        "2 cores, Postgres 15.18, 160,000 TPC-B changes in 0.63 s; by us, earlier",
    ),
)


@dataclass(frozen=True)
class Load:
    """What was committed while nobody read: how many changes, where it ends, Kafka before it."""

    changes: int
    end: str
    in_kafka_before: int


@dataclass(frozen=True)
class Drain:
    """One contender's way through a load."""

    changes: int
    seconds: float
    # When the first of it was seen in Kafka, and how much that was: before, the reader started.
    first_s: float = 0.0
    first_changes: int = 0
    connect_cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Changes a second."""
        return self.changes / self.seconds

    @property
    def flowing_rate(self) -> float:
        """Changes a second once the first had arrived."""
        return (self.changes - self.first_changes) / (self.seconds - self.first_s)


def main() -> None:
    """Start a stack, drain loads by turns, stop it."""
    with own_stack("connect") as stack:
        source = Source(stack)
        source.prepare()
        pairs = interleave(source.by_capture, source.by_recvlogical)
        show(source.captured[1:], source.received[1:])
        report("capture_rate", pairs, target=TARGET, better="higher")


class Source:
    """An operational database whose load is kept by two slots until somebody reads it."""

    def __init__(self, stack: Stack) -> None:
        env = {**stack.env, **stack.secrets}
        self._dsn = env["MILLRACE_OLTP_ADMIN_DSN"]
        self._database = urlsplit(self._dsn).path.removeprefix("/")
        self._worker = httpx.Client(base_url=env["MILLRACE_CONNECT"], timeout=30)
        self._kafka = Watermarks(env["MILLRACE_KAFKA"])
        pid = stack.pid("connect")
        assert pid is not None
        self._connect = psutil.Process(pid)
        self._kept: dict[str, Load] = {}
        self.captured: list[Drain] = []
        self.received: list[Drain] = []

    def prepare(self) -> None:
        """pgbench's tables, captured like the others; a second slot; and nobody reads."""
        self._run("pgbench", "-i", "-q", "-s", str(SCALE))
        names = ", ".join(TABLES)
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(f"alter publication millrace add table {names}")
            connection.execute("grant usage on schema public to cdc")
            connection.execute(f"grant select on {names} to cdc")
            # How long the load takes to commit is not measured.
            connection.execute("alter database oltp set synchronous_commit = off")
            connection.execute(f"select pg_create_logical_replication_slot('{THEIRS}', 'pgoutput')")
        settings = self._worker.get(f"{CONNECTOR}/config").raise_for_status().json()
        settings["table.include.list"] += r",public\.pgbench_\w+"
        self._worker.put(f"{CONNECTOR}/config", json=settings).raise_for_status()
        register.stop(self._worker)

    def by_capture(self) -> float:
        """From the request to go on until all of the load is in Kafka."""
        load = self._take(OURS)
        cpu_s, began = self._cpu_s(), time.monotonic()
        self._worker.put(f"{CONNECTOR}/resume").raise_for_status()
        first_s, first_changes = self._arrived(load, 1, began)
        seconds, _ = self._arrived(load, load.changes, began)
        # As acknowledged as it gets: what comes twice comes right behind.
        time.sleep(SETTLED_S)
        cpu_s = self._cpu_s() - cpu_s
        came = self._kafka.total() - load.in_kafka_before
        assert came == load.changes, f"void: {came} changes in Kafka, {load.changes} committed"
        register.stop(self._worker)
        self.captured.append(Drain(load.changes, seconds, first_s, first_changes, cpu_s))
        return self.captured[-1].rate

    def by_recvlogical(self) -> float:
        """From the start of pg_recvlogical until it has read to the end of the load."""
        load, before = self._take(THEIRS), self._decoded()
        seconds = self._run(
            "pg_recvlogical", "-d", self._database, "-S", THEIRS, "--start", "--no-loop",
            f"--endpos={load.end}", "-o", "proto_version=1", "-o", f"publication_names={OURS}",
            "-f", "/dev/null",
        )  # fmt: skip
        # Its server process tells the last of it as it ends.
        time.sleep(SETTLED_S)
        read = self._decoded() - before
        assert read >= TRANSACTIONS, f"void: {read} transactions read, {TRANSACTIONS} committed"
        self.received.append(Drain(load.changes, seconds))
        return self.received[-1].rate

    def _take(self, slot: str) -> Load:
        """What the slot keeps; when it is empty, so is the other, and a new load is committed."""
        if slot not in self._kept:
            assert not self._kept, f"{self._kept} was not read"
            load = self._commit()
            self._kept = {OURS: load, THEIRS: load}
        return self._kept.pop(slot)

    def _commit(self) -> Load:
        with psycopg.connect(self._dsn, autocommit=True) as connection:

            def one(query: str) -> str:
                return str((connection.execute(query).fetchone() or (None,))[0])

            before = int(one("select count(*) from public.pgbench_history"))
            self._run(
                "pgbench", "-n", "-c", str(CLIENTS), "-j", "2", "-t", str(TRANSACTIONS // CLIENTS)
            )
            done = int(one("select count(*) from public.pgbench_history")) - before
            assert done == TRANSACTIONS, f"{done} transactions of {TRANSACTIONS} committed"
            # All of it is on disk, and no checkpoint runs while it is read.
            connection.execute("checkpoint")
            end = one("select pg_current_wal_flush_lsn()")
        return Load(done * CHANGES_A_TRANSACTION, end, self._kafka.total())

    def _arrived(self, load: Load, wanted: int, began: float) -> tuple[float, int]:
        """Seconds until so many changes of the load are in Kafka, and how many are by then."""
        while (came := self._kafka.total() - load.in_kafka_before) < wanted:
            assert time.monotonic() < began + WITHIN_S, f"{came} changes came in {WITHIN_S} s"
            time.sleep(POLL_S)
        return time.monotonic() - began, came

    def _decoded(self) -> int:
        """Transactions that Postgres has handed to the reader of the second slot."""
        with psycopg.connect(self._dsn) as connection:
            query = "select total_txns from pg_stat_replication_slots where slot_name = %s"
            (count,) = connection.execute(query, (THEIRS,)).fetchone() or (0,)
        return int(count)

    def _cpu_s(self) -> float:
        used = self._connect.cpu_times()
        return used.user + used.system

    def _run(self, program: str, *arguments: str) -> float:
        """How long a program of Postgres took."""
        oltp = urlsplit(self._dsn)
        where = ["-h", oltp.hostname or "", "-p", str(oltp.port), "-U", oltp.username or ""]
        began = time.monotonic()
        done = subprocess.run(
            [postgres.binary(program), *where, *arguments],
            env={**os.environ, "PGPASSWORD": oltp.password or "", "PGDATABASE": self._database},
            capture_output=True, text=True, check=False, timeout=WITHIN_S,
        )  # fmt: skip
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stderr
        return seconds


class Watermarks:
    """How many messages of the load are in Kafka, as the broker counts them."""

    def __init__(self, bootstrap: str) -> None:
        self._topics = {f"{topics.PREFIX}.{name}" for name in TABLES}
        settings = {"bootstrap.servers": bootstrap, "group.id": "bench", "log_level": 0}
        self._consumer = Consumer(settings)
        self._places: list[TopicPartition] = []

    def total(self) -> int:
        """The sum of the high watermarks of all partitions."""
        if len({place.topic for place in self._places}) < len(self._topics):
            # The first change of a table creates its topic.
            found = self._consumer.list_topics(timeout=10).topics
            self._places = [
                TopicPartition(topic, partition)
                for topic in self._topics & found.keys()
                for partition in found[topic].partitions
            ]
        return sum(self._end(place) for place in self._places)

    def _end(self, place: TopicPartition) -> int:
        _, high = self._consumer.get_watermark_offsets(place, timeout=10)
        return int(high)


def show(captured: list[Drain], received: list[Drain]) -> None:
    """What was measured here, beside what others published."""
    changes = captured[0].changes
    start_s = median(d.first_s for d in captured)
    cpu_us = median(d.connect_cpu_s for d in captured) / changes * 1e6
    table = Table(box=box.SIMPLE, title="changes a second")
    table.add_column("who")
    table.add_column("changes/s", justify="right")
    table.add_column("measured on, by", overflow="fold")
    table.add_row(
        "Millrace, start included",
        f"{median(d.rate for d in captured):,.0f}",
        f"here; {changes:,} TPC-B changes, first one after {start_s:.1f} s;"
        f" Connect used {cpu_us:.0f} CPU-us a change",
    )
    table.add_row(
        "Millrace, from its first change on",
        f"{median(d.flowing_rate for d in captured):,.0f}",
        "here",
    )
    table.add_row("pg_recvlogical", f"{median(d.rate for d in received):,.0f}", "here, same load")
    table.add_section()
    for row in PUBLISHED:
        table.add_row(*row)
    Console(width=120, highlight=False).print(table)


if __name__ == "__main__":
    main()
