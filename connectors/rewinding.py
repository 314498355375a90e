"""Starts Connect at the beginning of a transaction: `python -m connectors.rewinding KAFKA COMMAND`.

Debezium makes two records of a row whose key changes, with one stored position: the delete of the
old key and the row under the new one. Killed between their acknowledgements, it takes both for
sent, and the row is gone. So before a task starts, a position inside a transaction, at an update,
is put back to the commit before it. Some changes come twice, none is left out.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from connectors import config

# As millrace/stack/conf/connect.properties has it.
TOPIC = "connect.offsets"
KAFKA_WITHIN_S = 60.0
READ_WITHIN_S = 30.0
QUIET: dict[str, Any] = {"log_level": 0}

log = logging.getLogger(__name__)


class Stored(NamedTuple):
    """A position as it stands in Connect's topic."""

    partition: int
    key: bytes
    position: Mapping[str, Any]


def rewound(position: Mapping[str, Any]) -> dict[str, Any] | None:
    """The position to start from instead; none when this one leaves nothing out.

    Debezium passes over what stands at `lsn_proc` or before it, and the first change after a commit
    stands at the same place as the commit's end; where nothing stands, it passes over nothing.
    Without an `lsn_proc` it would not see that its slot has gone on without it.
    """
    commit, done = position.get("lsn_commit"), position.get("lsn_proc")
    if position.get("messageType") != "UPDATE" or not commit or done is None or done < commit:
        return None
    kept = {n: v for n, v in position.items() if n != "lsn_events_processed"}
    return {**kept, "lsn": commit, "lsn_proc": commit - 1}


def rewind(kafka: str) -> list[str]:
    """Put back what Connect has stored, while it does not run; says what was done."""
    done = []
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", **QUIET})
    failed: list[str] = []
    for stored in read(kafka):
        if before := rewound(stored.position):
            producer.produce(
                TOPIC,
                json.dumps(before, separators=(",", ":")).encode(),
                stored.key,
                stored.partition,
                on_delivery=lambda error, _: failed.append(str(error)) if error else None,
            )
            done.append(f"from {stored.position['lsn']} to the commit at {before['lsn']}")
    if producer.flush(READ_WITHIN_S) or failed:
        raise RuntimeError(f"Kafka did not take a position of Connect: {failed[:1]}")
    return done


def read(kafka: str) -> list[Stored]:
    """The connector's positions, the last one of each source."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": str(uuid4()), **QUIET})
    last: dict[bytes, tuple[int, bytes | None]] = {}
    try:
        ends = _ends(consumer)
        consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in ends])
        deadline = time.monotonic() + READ_WITHIN_S
        while ends:
            # What was compacted away or aborted may leave no record at the end.
            for place in consumer.position([TopicPartition(TOPIC, p) for p in ends]):
                if place.offset >= ends[place.partition]:
                    del ends[place.partition]
            record = consumer.poll(0.2) if ends else None
            if record is not None and not record.error():
                last[record.key() or b""] = (record.partition() or 0, record.value())
            if time.monotonic() > deadline:
                raise RuntimeError(f"{TOPIC} was not read in {READ_WITHIN_S:.0f} s")
    finally:
        consumer.close()
    return [
        Stored(partition, key, json.loads(value))
        for key, (partition, value) in last.items()
        if value and _is_ours(key)
    ]


def _ends(consumer: Consumer) -> dict[int, int]:
    known = consumer.list_topics(TOPIC, timeout=KAFKA_WITHIN_S).topics[TOPIC].partitions
    ends = {}
    for partition in known:
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition))
        if high > low:
            ends[partition] = high
    return ends


def _is_ours(key: bytes) -> bool:
    name = json.loads(key) if key else None
    return isinstance(name, list) and name[:1] == [config.NAME]


def main(kafka: str, command: list[str]) -> None:
    """Rewind, then become the command."""
    try:
        for line in rewind(kafka):
            log.info("capture reads on %s", line)
    except KafkaException as error:
        # Connect could not start either; whoever started this starts it again.
        sys.exit(f"no Kafka broker answers at {kafka}: {error.args[0].str()}")
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(sys.argv[1], sys.argv[2:])
