"""Sends dead letters again: the original bytes, key and headers to the original topic, once.

Each letter is first written down as about to be sent, with where its partition ends, and afterwards
with where it is. Who dies in between is repeated by the next run, which looks in Kafka first: the
message says in a header which letter it was. Whoever reads the topic must take a message twice
anyway, so sending what is found nowhere is always safe.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from psycopg.rows import class_row

from schemas.topics import consumer_group, dead_letter
from streams.dead_letters.letters import REDRIVEN

BROKER_S = 10.0
GROUPS = consumer_group("")
ONE_AT_A_TIME = "select pg_try_advisory_lock(hashtext('ops.dead_letters'))"
CHOSEN = """
select dead_letter_id as number, topic, partition, "offset", message_key as key,
    message_value as value, header_names, header_values, error_class, status, attempts,
    released_after, released_offset
from ops.dead_letters
where status in ('HELD', 'RELEASING')
    and (%(numbers)s::bigint[] is null or dead_letter_id = any (%(numbers)s))
    and (%(topic)s::text is null or topic = %(topic)s)
    and (%(reason)s::text is null or error_class = %(reason)s)
order by topic, partition, "offset"
"""
BEGIN = """
update ops.dead_letters
set status = 'RELEASING', released_by = %(by)s, release_reason = %(why)s, released_at = now(),
    released_after = %(after)s
where dead_letter_id = %(number)s and status = 'HELD'
"""
# It may have failed again by now, and said so.
SENT = """
update ops.dead_letters
set released_offset = %(offset)s,
    status = case status when 'RELEASING' then 'RELEASED' else status end
where dead_letter_id = %(number)s
"""
UNSETTLED = """
select dead_letter_id, topic, partition, released_offset from ops.dead_letters
where status = 'RELEASED'
"""
HANDLED = """
update ops.dead_letters set status = 'HANDLED'
where dead_letter_id = any (%s) and status = 'RELEASED'
"""
STATUS = "select dead_letter_id, status from ops.dead_letters where dead_letter_id = any (%s)"


class Busy(RuntimeError):
    """Somebody else is sending dead letters again at this moment."""


class NotSent(RuntimeError):
    """The broker did not take a message; run again: what was sent is not sent twice."""


@dataclass(frozen=True)
class Letter:
    """A dead letter that may be sent again."""

    number: int
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    header_names: list[str]
    header_values: list[bytes | None]
    error_class: str
    status: str
    attempts: int
    released_after: int | None
    released_offset: int | None

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """The original's headers, and which letter it was last."""
        pairs = zip(self.header_names, self.header_values, strict=True)
        own: list[tuple[str, str | bytes | None]] = [p for p in pairs if p[0] != REDRIVEN]
        return [*own, (REDRIVEN, str(self.number).encode())]


def chosen(
    connection: psycopg.Connection[Any],
    numbers: Sequence[int] | None = None,
    topic: str | None = None,
    reason: str | None = None,
) -> list[Letter]:
    """The letters that are still held and fit all that is said, in the order of their topics."""
    asked = {"numbers": list(numbers) if numbers else None, "topic": topic, "reason": reason}
    with connection.cursor(row_factory=class_row(Letter)) as cursor:
        return cursor.execute(CHOSEN, asked).fetchall()


def release(
    connection: psycopg.Connection[Any],
    servers: str,
    letters: Sequence[Letter],
    by: str,
    why: str,
) -> dict[int, int]:
    """Send each letter again; where each is now. The connection must be in autocommit mode."""
    with _alone(connection):
        # As they are now: somebody may have sent them since they were chosen.
        now = {letter.number: letter for letter in chosen(connection, [x.number for x in letters])}
        places: dict[int, int] = {}
        producer = _producer(servers)
        with _reader(servers) as reader:
            for letter in now.values():
                after = letter.released_after
                place = None
                if letter.status == "RELEASING" and after is not None:
                    place = _found(reader, letter, after)
                if place is None:
                    end = _end(reader, letter)
                    told = {"by": by, "why": why, "after": end, "number": letter.number}
                    connection.execute(BEGIN, told)
                    place = _sent(producer, letter)
                connection.execute(SENT, {"offset": place, "number": letter.number})
                places[letter.number] = place
        return places


def settle(
    connection: psycopg.Connection[Any],
    servers: str,
    numbers: Sequence[int],
    within_s: float = 0.0,
) -> dict[int, str]:
    """Write back what has been handled, and say how those letters stand; waits so long for it.

    Handled is what every group that reads the topic has passed without a new letter about it.
    """
    until = time.monotonic() + within_s
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    while True:
        passed = _passed(admin, connection.execute(UNSETTLED).fetchall())
        # Groups commit after their letters are in Kafka; those must have been filed as well.
        if passed and _is_filed(admin, servers, set(passed.values())):
            connection.execute(HANDLED, (list(passed),))
        stand = dict(connection.execute(STATUS, (list(numbers),)).fetchall())
        if "RELEASED" not in stand.values() or time.monotonic() >= until:
            return stand
        time.sleep(0.3)


@contextmanager
def _alone(connection: psycopg.Connection[Any]) -> Iterator[None]:
    row = connection.execute(ONE_AT_A_TIME).fetchone()
    if row is None or not next(iter(row)):
        raise Busy("somebody else is sending dead letters again; wait until they are done")
    try:
        yield
    finally:
        connection.execute("select pg_advisory_unlock(hashtext('ops.dead_letters'))")


def _producer(servers: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "delivery.timeout.ms": int(BROKER_S * 1000),
            "linger.ms": 0,
            "log_level": 0,
        }
    )


def _sent(producer: Producer, letter: Letter) -> int:
    """Where the broker has put it; in its old partition, so that keys keep theirs."""
    answers: list[tuple[KafkaError | None, int | None]] = []

    def answered(error: KafkaError | None, message: Message) -> None:
        answers.append((error, message.offset()))

    try:
        producer.produce(
            letter.topic,
            key=letter.key,
            value=letter.value,
            partition=letter.partition,
            headers=letter.headers,
            on_delivery=answered,
        )
    except (KafkaException, BufferError) as error:
        raise NotSent(f"letter {letter.number}: {error}") from error
    producer.flush(BROKER_S * 2)
    failure, offset = answers[0] if answers else (None, None)
    if failure is not None or offset is None:
        said = failure.str() if failure is not None else "no answer from the broker"
        raise NotSent(f"letter {letter.number} to {letter.topic}: {said}")
    return offset


@contextmanager
def _reader(servers: str) -> Iterator[Consumer]:
    reader = Consumer(
        {
            "bootstrap.servers": servers,
            # Never joined and never committed to: partitions are assigned by hand.
            "group.id": "dead-letters-sent-again",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        yield reader
    finally:
        reader.close()


def _end(reader: Consumer, letter: Letter) -> int:
    place = TopicPartition(letter.topic, letter.partition)
    try:
        return int(reader.get_watermark_offsets(place, timeout=BROKER_S)[1])
    except KafkaException as error:
        raise NotSent(f"letter {letter.number}: {error.args[0].str()}") from error


def _found(reader: Consumer, letter: Letter, after: int) -> int | None:
    """Where the message is that an earlier run may have sent; None when it was not."""
    place = TopicPartition(letter.topic, letter.partition)
    low, end = reader.get_watermark_offsets(place, timeout=BROKER_S)
    wanted = (REDRIVEN, str(letter.number).encode())
    place.offset = max(after, low)
    if place.offset >= end:
        return None
    reader.assign([place])
    try:
        while True:
            message = reader.poll(BROKER_S)
            if message is None:
                raise NotSent(f"letter {letter.number}: the broker does not answer")
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return None
                raise NotSent(f"letter {letter.number}: {error.str()}")
            if wanted in (message.headers() or []):
                return message.offset()
    finally:
        reader.unassign()


def _passed(admin: AdminClient, unsettled: Sequence[Any]) -> dict[int, str]:
    """Letters whose place all groups that read the topic have passed, and their topics."""
    if not unsettled:
        return {}
    committed: dict[tuple[str, int], list[int]] = defaultdict(list)
    for offsets in _committed(admin, GROUPS).values():
        for place, offset in offsets.items():
            committed[place].append(offset)
    return {
        number: topic
        for number, topic, partition, offset in unsettled
        if (there := committed.get((topic, partition))) and min(there) > offset
    }


def _is_filed(admin: AdminClient, servers: str, of_topics: set[str]) -> bool:
    """Whether every letter about these topics that is in Kafka is in the database."""
    filed: dict[tuple[str, int], int] = {}
    for offsets in _committed(admin, f"{GROUPS}dead-letters").values():
        filed |= offsets
    with _reader(servers) as reader:
        for topic in of_topics:
            place = TopicPartition(dead_letter(topic), 0)
            low, end = reader.get_watermark_offsets(place, timeout=BROKER_S)
            if low < end and filed.get((place.topic, 0), -1) < end:
                return False
    return True


def _committed(admin: AdminClient, begin: str) -> Mapping[str, Mapping[tuple[str, int], int]]:
    known = admin.list_consumer_groups(request_timeout=BROKER_S).result().valid
    found = {}
    for group in sorted(g.group_id for g in known if g.group_id.startswith(begin)):
        asked = admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=BROKER_S
        )
        partitions = asked[group].result().topic_partitions or []
        found[group] = {(p.topic, p.partition): p.offset for p in partitions if p.offset >= 0}
    return found
