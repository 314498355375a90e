"""What must be true of the log after every fault of capture: I1 to I5, by the writers' history.

Each check gives a line for each thing that is wrong. The records may be Kafka's or bronze's.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from connectors import snapshotting
from schemas import contract
from tests.faults.capture_client import FAIL, INFO, OK, Client, Transaction
from tests.topic_log import Log, Message

CUSTOMERS = contract.load("customers").topic
DELETE, TOMBSTONE = "d", "tombstone"
Order = tuple[int, int, int]


@dataclass(frozen=True)
class Record:
    """One record of the log; `order` and `value` are none for a tombstone."""

    partition: int
    offset: int
    key: str
    op: str
    order: Order | None
    # The row afterwards, as far as the writers mark it; none for a delete.
    value: str | None
    row: Mapping[str, Any] | None = None

    @property
    def identity(self) -> tuple[str, Order | None, str]:
        """The same for a change and its replay."""
        return self.key, self.order, self.op


def order_of(envelope: Mapping[str, Any]) -> Order:
    """(commit LSN, streamed, LSN), as silver and the streams order changes."""
    source = envelope["source"]
    commit, own = (json.loads(source["sequence"]) if source["sequence"] else None) or (None, None)
    lsn = source["lsn"] if source["lsn"] is not None else int(own or 0)
    if envelope["op"] == "r":
        return (int(commit or lsn) if source["lsn"] is None else lsn, 0, lsn)
    return int(commit or lsn), 1, lsn


def of_messages(messages: Iterable[Message]) -> list[Record]:
    """Records of customers in Kafka's order."""
    found = []
    for m in messages:
        after = (m.value or {}).get("after")
        found.append(
            Record(
                m.partition,
                m.offset,
                m.key["customer_id"],
                m.kind,
                order_of(m.value) if m.value else None,
                after["external_ref"] if after else None,
                after,
            )
        )
    return sorted(found, key=lambda r: (r.partition, r.offset))


def no_loss(history: Sequence[Transaction], records: Sequence[Record]) -> list[str]:
    """I1: every change of a transaction that was acknowledged is in the log."""
    values, deleted = _values(records), _deleted(records)
    return [
        f"I1 lost: {'delete' if w.value is None else w.value} of {w.key}"
        f"{' (moved, its old key is deleted)' if w.moved_from in deleted else ''}"
        for t in history
        if t.outcome == OK
        for w in t.writes
        if (w.key not in deleted if w.value is None else w.value not in values)
    ]


def no_phantom(client: Client, records: Sequence[Record]) -> list[str]:
    """I3: nothing is in the log that was not committed, and nothing is there in part."""
    history = client.history
    possible = {w.value for t in history if t.outcome in (OK, INFO) for w in t.writes}
    may_go = {
        w.key for t in history if t.outcome in (OK, INFO) for w in t.writes if w.value is None
    }
    values, deleted = _values(records), _deleted(records)
    wrong = [
        f"I3 phantom: {value} is in the log and was never committed"
        for value in sorted(values)
        if value.startswith(client.name) and value not in possible
    ]
    ours = {w.key for t in history for w in (*t.writes, *t.undone)}
    wrong += [f"I3 phantom: a delete of {key}" for key in sorted((deleted & ours) - may_go)]
    for t in history:
        if t.outcome == INFO and t.writes:
            there = [w.key in deleted if w.value is None else w.value in values for w in t.writes]
            if any(there) and not all(there):
                wrong.append(f"I3 torn: {sum(there)} of {len(there)} changes of one transaction")
    return wrong


def contiguous(records: Iterable[Record]) -> list[str]:
    """I4: each (partition, offset) once, and none left out in between."""
    by_partition: dict[int, Counter[int]] = defaultdict(Counter)
    for record in records:
        by_partition[record.partition][record.offset] += 1
    wrong = []
    for partition, offsets in sorted(by_partition.items()):
        twice = [offset for offset, times in offsets.items() if times > 1]
        gaps = sorted(set(range(min(offsets), max(offsets) + 1)) - set(offsets))
        wrong += [f"I4 partition {partition}: offset {offset} twice" for offset in sorted(twice)]
        wrong += [f"I4 partition {partition}: offset {offset} is not there" for offset in gaps]
    return wrong


def in_order(client: Client, records: Sequence[Record]) -> list[str]:
    """I5: per key, what comes for the first time comes in commit order, a replay says the same."""
    wrong: list[str] = []
    first: dict[tuple[str, Order | None, str], Record] = {}
    highest: dict[str, Record] = {}
    for record in records:
        if record.op == TOMBSTONE:
            continue
        known = first.setdefault(record.identity, record)
        if known is not record:
            if known.row != record.row:
                wrong.append(f"I5 {record.key}: two contents at {record.order}")
            continue
        before = highest.get(record.key)
        if before is not None and (before.order or ()) >= (record.order or ()):
            wrong.append(f"I5 {record.key}: {record.order} comes after {before.order}")
        highest[record.key] = record
    return wrong + _as_written(client, first.values())


def _as_written(client: Client, records: Iterable[Record]) -> list[str]:
    """A writer counts its values up, and no key has two writers: so does the log."""
    counted: dict[str, list[int]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.order or (0, 0, 0)):
        if record.op != "r" and record.value and record.value.startswith(client.name):
            counted[record.key].append(int(record.value.rpartition("-")[2]))
    return [f"I5 {key}: {n} is not as written" for key, n in counted.items() if n != sorted(n)]


def folded(records: Iterable[Record]) -> dict[str, str | None]:
    """key -> what its last change by order left, deleted ones none."""
    last: dict[str, Record] = {}
    for record in records:
        known = last.get(record.key)
        if record.order and (known is None or known.order is None or known.order < record.order):
            last[record.key] = record
    return {key: record.value for key, record in last.items()}


def converged(
    client: Client, folded_rows: Mapping[str, str | None], source: Mapping[str, str | None]
) -> list[str]:
    """I2: for every key that the writers touched, the last change is what the source has."""
    keys = {w.key for t in client.history for w in (*t.writes, *t.undone)}
    wrong = [
        f"I2 {key}: the source has {source.get(key)}, its copy {folded_rows.get(key)}"
        for key in sorted(keys)
        if source.get(key) != folded_rows.get(key)
    ]
    unsure = {w.key for t in client.history if t.outcome == INFO for w in t.writes}
    wrong += [
        f"I1 {key}: the writer was told {value}, the source has {source.get(key)}"
        for key, value in client.told().items()
        if key not in unsure and source.get(key) != value
    ]
    return wrong


def source_rows(admin_dsn: str) -> dict[str, str | None]:
    """key -> value of every customer."""
    with psycopg.connect(admin_dsn) as connection:
        rows = connection.execute("select customer_id::text, external_ref from customer.customers")
        return dict(rows.fetchall())


def drained(admin_dsn: str, within_s: float = 90) -> float:
    """I18: seconds until the slot has passed everything that is written now."""
    began = time.monotonic()
    wanted = None
    while time.monotonic() - began < within_s:
        try:
            with psycopg.connect(admin_dsn, autocommit=True, connect_timeout=3) as connection:
                if wanted is None:
                    (wanted,) = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
                connection.execute(
                    "insert into ops.heartbeat (id, beat_at) values (1, now())"
                    " on conflict (id) do update set beat_at = excluded.beat_at"
                )
                passed = connection.execute(
                    "select confirmed_flush_lsn >= %s::pg_lsn from pg_replication_slots"
                    " where slot_name = 'millrace'",
                    (wanted,),
                ).fetchone()
                if passed and passed[0]:
                    return time.monotonic() - began
        except psycopg.Error as error:
            print(f"not yet: {error}")
        time.sleep(0.3)
    raise AssertionError(f"I18 capture did not come to the end of the log in {within_s:.0f} s")


def violations(client: Client, env: Mapping[str, str], within_s: float = 90) -> list[str]:
    """Quiesce, drain, and check the whole log of customers; prints what was found."""
    admin = env["MILLRACE_OLTP_ADMIN_DSN"]
    drained_s = drained(admin, within_s)
    records = of_messages(Log(dict(env)).read(CUSTOMERS))
    wrong = no_loss(client.history, records)
    wrong += no_phantom(client, records)
    wrong += contiguous(records)
    wrong += in_order(client, records)
    wrong += converged(client, folded(records), source_rows(admin))
    print(summary(client, records), f"drained in {drained_s:.1f} s, {len(wrong)} violations")
    for line in _told(client, records, wrong[:3]):
        print(line)
    return wrong


def read_again(env: Mapping[str, str], *tables: str) -> dict[str, int]:
    """Read customers (and other tables) again, beside the stream."""
    return snapshotting.snapshot(
        oltp_dsn=env["MILLRACE_OLTP_ADMIN_DSN"],
        kafka=env["MILLRACE_KAFKA"],
        registry_url=env["MILLRACE_REGISTRY"],
        tables=["customer.customers", *tables],
        within_s=140,
        progress=print,
    )


def _told(client: Client, records: Sequence[Record], wrong: Sequence[str]) -> Iterable[str]:
    """What there is to know about the keys of the first violations."""
    for line in wrong:
        keys = {w.key for t in client.history for w in t.writes if w.key in line}
        for n, transaction in enumerate(client.history):
            if keys & {w.key for w in transaction.writes}:
                yield f"transaction {n}: {transaction}"
        for n, record in enumerate(records):
            if record.key in keys:
                yield f"record {n}: {record}"


def duplicates(records: Sequence[Record]) -> int:
    """Changes that came more than once."""
    changes = [r.identity for r in records if r.op != TOMBSTONE]
    return len(changes) - len(set(changes))


def summary(client: Client, records: Sequence[Record]) -> str:
    """What was done and what was found, in one line."""
    told = Counter(t.outcome for t in client.history)
    undone = sum(bool(t.undone) for t in client.history)
    return (
        f"{told[OK]} transactions ok, {told[FAIL]} failed or rolled back, {told[INFO]} unknown,"
        f" {undone} with a savepoint undone; {len(records)} records,"
        f" {duplicates(records)} of them repeated;"
    )


def _values(records: Iterable[Record]) -> set[str]:
    return {r.value for r in records if r.value is not None}


def _deleted(records: Iterable[Record]) -> set[str]:
    return {r.key for r in records if r.op == DELETE}
