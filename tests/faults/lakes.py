"""What every fault of the lake needs: records in Kafka, kills, and what must be true."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from pipelines import delta, lake
from schemas import contract, topics

INGEST = """
import sys
from pathlib import Path
from pipelines import bronze, session
from pipelines.settings import Settings
lake, jars, kafka, most = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
spark = session.build(Settings(lake=lake, jars=jars))
bronze.ingest(spark, lake, kafka, records_per_batch=most)
"""
# Nobody's records: bronze does not mind what is in them.
CAPTURED = tuple(contract.load(entity).topic for entity in ("offers", "customers"))
# Records of this one are removed from Kafka.
FORGOTTEN = contract.load("payments").topic
EVENT = topics.announced()[0]


def produce(
    kafka: str, seed: int, records: int, bytes_each: int = 200, to: tuple[str, ...] | None = None
) -> set[bytes]:
    """Spread so many records over two tables and an event; their keys are theirs alone."""
    chance = random.Random(seed)
    producer = Producer({"bootstrap.servers": kafka})
    keys = {f"{seed}-{time.time_ns()}-{n}".encode() for n in range(records)}
    for key in sorted(keys):
        producer.produce(chance.choice(to or (*CAPTURED, EVENT)), chance.randbytes(bytes_each), key)
    assert producer.flush(30) == 0
    return keys


def rows_of(spark: Any, folder: Path) -> list[Any]:
    """Every row of bronze: place, key, batch."""
    rows = delta.read(spark, lake.bronze(folder))
    return rows.select("topic", "partition", "offset", "key", "batch_id").collect()


def is_whole(rows: list[Any], keys: set[bytes]) -> None:
    """I4: each place once, no offset left out, and every one of `keys` is there."""
    places = Counter((r["topic"], r["partition"], r["offset"]) for r in rows)
    assert max(places.values()) == 1, [place for place, n in places.items() if n > 1][:5]
    by_partition: dict[Any, set[int]] = {}
    for topic, partition, offset in places:
        by_partition.setdefault((topic, partition), set()).add(offset)
    for place, offsets in by_partition.items():
        assert offsets == set(range(min(offsets), max(offsets) + 1)), place
    assert keys <= {bytes(r["key"]) for r in rows}


def killed(folder: Path, jars: str, kafka: str, most: int, now: Callable[[], bool]) -> bool:
    """Ingest in a process of its own and kill it when `now` says so; whether it came to that."""
    arguments = [str(folder), jars, kafka, str(most)]
    process = subprocess.Popen([sys.executable, "-c", INGEST, *arguments], start_new_session=True)
    limit = time.monotonic() + 120
    while process.poll() is None and not now():
        assert time.monotonic() < limit, "nothing to kill it for within two minutes"
        time.sleep(0.002)
    was_alive = process.poll() is None
    if was_alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_alive
