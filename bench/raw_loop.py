"""The rival to be measured by: the best plain loop we know, with the same effects and nothing else.

librdkafka hands over what is there, one Redis pipeline reads, one call to Postgres decides, one
pipeline writes the cards' histories, one produce batch answers, then the offsets are committed.
"""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType

import orjson
import psycopg
import redis
from confluent_kafka import Consumer, Message, Producer
from psycopg.rows import dict_row

from bench import deciding
from schemas import keys

BATCH_MAX = 300
COPY_S = 7 * 24 * 3600


def main() -> None:
    """Decide until told to stop."""
    stopping: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGTERM, stop)
    requested, decided = deciding.topics_here()
    servers = os.environ["MILLRACE_KAFKA"]
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": requested,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([requested])
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "linger.ms": 0})
    client = redis.Redis.from_url(os.environ["MILLRACE_REDIS"])
    with psycopg.connect(
        os.environ["MILLRACE_OLTP_DSN"], autocommit=True, row_factory=dict_row
    ) as connection:
        with psycopg.connect(os.environ["MILLRACE_OLTP_DSN"]) as plain:
            cards, versions = deciding.cards(plain), deciding.versions(plain)
        gc.freeze()
        while not stopping:
            first = consumer.poll(0.25)
            if first is None:
                continue
            batch = [first, *consumer.consume(BATCH_MAX - 1, 0)]
            decide(batch, connection, client, producer, decided, cards, versions)
            consumer.commit(asynchronous=True)
    consumer.close()


def decide(
    batch: list[Message],
    connection: psycopg.Connection[dict[str, object]],
    client: redis.Redis,
    producer: Producer,
    decided: str,
    cards: dict[str, tuple[str, str]],
    versions: dict[str, int],
) -> None:
    """One batch with all its effects."""
    requests = [deciding.decode(message.value() or b"") for message in batch]
    pipe = client.pipeline(transaction=False)
    for card_id in {request["card_id"] for request in requests}:
        for key in deciding.copies(card_id, *cards[card_id]):
            pipe.hgetall(key)
        pipe.get(keys.card_history(card_id))
    pipe.execute()
    rows = []
    for request in requests:
        card_id = request["card_id"]
        versions[card_id] = versions.get(card_id, 0) + 1
        rows.append(deciding.row(request, cards[card_id][0], versions[card_id]))
    answers = connection.execute(deciding.DECIDE, (deciding.dumps(rows),)).fetchall()
    pipe = client.pipeline(transaction=False)
    for card_id in {request["card_id"] for request in requests}:
        pipe.set(f"bench:{card_id}", orjson.dumps([versions[card_id], *range(20)]), ex=COPY_S)
    pipe.execute()
    for request, answer in zip(requests, answers, strict=True):
        producer.produce(decided, deciding.answer(request, answer), request["card_id"].encode())
    producer.flush()


if __name__ == "__main__":
    main()
