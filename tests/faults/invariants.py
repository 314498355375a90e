"""What must be true after every fault, read from the record itself: I6 to I9 and I12.

Each check gives a line for each thing that is wrong. I10, the copies in Redis, is in copies.py.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import fastavro
import httpx
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from oltp.ledger import controls
from schemas import topics
from schemas.codes import Reason
from streams.codec import Undecodable, split

Place = tuple[str, int]
# Which authorization, its decision and its response code.
Answer = tuple[str, str, str]
# A hold may be open that long after its time: the clock's own pace, on a busy machine.
EXPIRY_GRACE_S = 15
AUTHORIZER = topics.consumer_group("authorization")
# Told to the caller and not kept: a repeat is judged anew.
NOT_KEPT = frozenset({Reason.DEADLINE_EXCEEDED, Reason.DECIDER_UNAVAILABLE})
OVERDUE_HOLDS = """
select hold_id, format('%%s, and its time was over at %%s', status, expires_at)
from card.holds
where status in ('PENDING', 'PARTIALLY_CAPTURED')
    and expires_at < now() - make_interval(secs => %s)
"""
EARLY_EXPIRIES = """
select h.hold_id, format('expired at %s, which is before %s', e.created_at, h.expires_at)
from ledger.entries e join card.holds h using (hold_id)
where e.entry_type = 'EXPIRE' and e.created_at < h.expires_at
"""
STORED = """
select idempotency_key, authorization_id::text, decision, response_code
from card.authorizations where idempotency_key = any(%s)
"""
APPLIED = "select message_key from card.card_messages where message_key = any(%s)"
FILED = 'select topic, partition, "offset" from ops.dead_letters where topic = %s'


@dataclass(frozen=True)
class Marks:
    """Where the request and the decided topic ended when the test began."""

    ends: Mapping[Place, int]

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Marks:
        return cls(ends(env, (topics.AUTHORIZATION_REQUESTED, topics.AUTHORIZATION_DECIDED)))


def books(dsn: str, grace_s: float = EXPIRY_GRACE_S) -> list[str]:
    """I6 to I9: the ledger's controls, and holds that are open too long or ended too soon."""
    wrong = []
    with psycopg.connect(dsn) as connection:
        for found in controls.check(connection):
            if found.count:
                sample = "; ".join(f"{subject}: {what}" for subject, what in found.sample)
                wrong.append(f"{found.invariant} not: {found.promise} ({found.count}): {sample}")
        overdue = connection.execute(OVERDUE_HOLDS, (grace_s,)).fetchall()
        early = connection.execute(EARLY_EXPIRIES).fetchall()
    wrong += [f"I9 hold {hold_id}: {what}" for hold_id, what in (*overdue, *early)]
    return wrong


def drained(env: Mapping[str, str], within_s: float = 90) -> None:
    """Wait until the authorizer has committed everything that was asked."""
    until = time.monotonic() + within_s
    while left := behind(env, AUTHORIZER):
        assert time.monotonic() < until, f"I12 {left} requests still wait after {within_s} s"
        time.sleep(0.3)


def accounted(env: Mapping[str, str], since: Marks) -> list[str]:
    """I8 and I12: every request has its answer or its dead letter, and a key has one decision.

    Requests that are applied and not decided are among the card's messages instead.
    """
    answered, told, wrong = _answers(env, since)
    unanswered: dict[tuple[int, int], str | None] = {}
    for message, request in records(env, topics.AUTHORIZATION_REQUESTED, since):
        if request is None or request["request_id"] not in answered:
            key = request["idempotency_key"] if request else None
            unanswered[message.partition(), message.offset()] = key
    with psycopg.connect(env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        wrong += _stored_otherwise(connection, told)
        filed = _filed(connection, {place for place, key in unanswered.items() if key is None})
        open_keys = [key for key in unanswered.values() if key is not None]
        applied = {key for (key,) in connection.execute(APPLIED, (open_keys,))}
    for place, key in unanswered.items():
        if place in filed and key is not None:
            wrong.append(f"I12 request {place} ({key}) can be read, and is among the dead letters")
        elif place not in filed and key not in applied:
            wrong.append(f"I12 request {place} ({key}) has neither answer nor dead letter")
    return wrong


def _answers(env: Mapping[str, str], since: Marks) -> tuple[set[str], dict[str, Answer], list[str]]:
    """The attempts that were answered, what was told for each key, and what is wrong with that."""
    answered: set[str] = set()
    told: dict[str, Answer] = {}
    wrong = []
    for _, decided in records(env, topics.AUTHORIZATION_DECIDED, since):
        if decided is None:
            wrong.append("I12 an answer cannot be read")
            continue
        answered.add(decided["request_id"])
        if decided["conflict"] or decided["reason_code"] in NOT_KEPT:
            continue
        key = decided["idempotency_key"]
        answer = (decided["authorization_id"], decided["decision"], decided["response_code"])
        if told.setdefault(key, answer) != answer:
            wrong.append(f"I8 key {key} was answered {told[key]}, and then {answer}")
    return answered, told, wrong


def _stored_otherwise(connection: psycopg.Connection, told: Mapping[str, Answer]) -> Iterator[str]:
    for keys in batched(told, 20_000):
        for key, *row in connection.execute(STORED, (keys,)):
            if told[key] != tuple(row):
                yield f"I8 key {key} was answered {told[key]}, and {row} is stored"


def _filed(
    connection: psycopg.Connection, expected: set[tuple[int, int]], within_s: float = 20
) -> set[tuple[int, int]]:
    """The places of the dead letters; those that are expected get a moment to be filed."""
    until = time.monotonic() + within_s
    while True:
        found = {
            (partition, offset)
            for _, partition, offset in connection.execute(FILED, (topics.AUTHORIZATION_REQUESTED,))
        }
        if expected <= found or time.monotonic() > until:
            return found
        connection.rollback()
        time.sleep(0.3)


def batched(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """The keys, so many at a time."""
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch


@dataclass(frozen=True)
class Worked:
    """What a worker's own counters say, and what it has committed, at one moment."""

    started_at: float
    counted: float
    committed: int

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Worked:
        counted, started_at = 0.0, 0.0
        page = httpx.get(f"{env['MILLRACE_WORKER']}/metrics", timeout=10).raise_for_status().text
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if (
                    sample.name == "millrace_stream_messages_total"
                    and sample.labels["agent"] == "authorization"
                ):
                    counted += sample.value
                elif sample.name == "process_start_time_seconds":
                    started_at = sample.value
        done = committed(env, AUTHORIZER)
        return cls(started_at, counted, sum(max(0, offset) for offset in done.values()))


def counted(earlier: Worked, later: Worked) -> list[str]:
    """I12 by the worker's counters: consumed = handled + passed over + dead letters."""
    assert earlier.started_at == later.started_at, "counters of two workers cannot be compared"
    consumed, counts = later.committed - earlier.committed, later.counted - earlier.counted
    return [] if consumed == counts else [f"I12 {consumed} consumed, {counts:.0f} counted"]


def ends(env: Mapping[str, str], names: tuple[str, ...]) -> dict[Place, int]:
    """The end of every partition of the topics."""

    def ask(reader: Consumer) -> dict[Place, int]:
        return {
            (part.topic, part.partition): reader.get_watermark_offsets(part, timeout=10)[1]
            for part in _partitions(reader, names)
        }

    return _answered(env, ask)


def behind(env: Mapping[str, str], group: str) -> int:
    """Messages of the request topic that the group has not committed."""
    done = committed(env, group)
    there = ends(env, (topics.AUTHORIZATION_REQUESTED,))
    return sum(end - max(0, done.get(place, 0)) for place, end in there.items())


def committed(env: Mapping[str, str], group: str) -> dict[Place, int]:
    """How far the group is in every partition of the request topic."""

    def ask(reader: Consumer) -> dict[Place, int]:
        asked = _partitions(reader, (topics.AUTHORIZATION_REQUESTED,))
        return {
            (part.topic, part.partition): part.offset
            for part in reader.committed(asked, timeout=10)
        }

    return _answered(env, ask, group)


def _partitions(reader: Consumer, names: tuple[str, ...]) -> list[TopicPartition]:
    known = reader.list_topics(timeout=10).topics
    return [TopicPartition(name, number) for name in names for number in known[name].partitions]


def _consumer(env: Mapping[str, str], group: str = "invariants") -> Consumer:
    """A consumer that joins no group: what it asks says nothing to the others."""
    return Consumer(
        {
            "bootstrap.servers": env["MILLRACE_KAFKA"],
            "group.id": group,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )


def _answered(
    env: Mapping[str, str],
    ask: Callable[[Consumer], dict[Place, int]],
    group: str = "invariants",
    within_s: float = 60,
) -> dict[Place, int]:
    """Ask until a broker that is only just coming back answers."""
    until = time.monotonic() + within_s
    while True:
        reader = _consumer(env, group)
        try:
            return ask(reader)
        except (KafkaException, KeyError):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        finally:
            reader.close()


def records(
    env: Mapping[str, str], topic: str, since: Marks
) -> Iterator[tuple[Any, dict[str, Any] | None]]:
    """Every message after the marks with what it says; none where it cannot be read."""
    left = {
        number: end
        for (_, number), end in ends(env, (topic,)).items()
        if end > since.ends[topic, number]
    }
    consumer = _consumer(env)
    try:
        consumer.assign([TopicPartition(topic, n, since.ends[topic, n]) for n in left])
        heard_at = time.monotonic()
        while left:
            # Waits for as many as that or for the time to be over, so both are small.
            found = consumer.consume(1000, timeout=0.05)
            if found:
                heard_at = time.monotonic()
            assert time.monotonic() - heard_at < 15, f"{topic} stopped before its end"
            for message in found:
                assert message.error() is None, message.error()
                if message.offset() + 1 >= left.get(message.partition(), 0):
                    left.pop(message.partition(), None)
                yield message, _decoded(env["MILLRACE_REGISTRY"], message.value())
    finally:
        consumer.close()


def _decoded(registry: str, value: bytes | None) -> dict[str, Any] | None:
    try:
        schema_id, payload = split(value or b"")
        return fastavro.schemaless_reader(io.BytesIO(payload), _schema(registry, schema_id), None)
    except (Undecodable, LookupError, ValueError, EOFError):
        return None


@cache
def _schema(registry: str, schema_id: int) -> Any:
    answer = httpx.get(f"{registry}/schemas/ids/{schema_id}", timeout=30)
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise LookupError(schema_id)
    return fastavro.parse_schema(json.loads(answer.raise_for_status().json()["schema"]))
