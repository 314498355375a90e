"""A Spark process killed in the middle: bronze has every record exactly once afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from millrace.stack import Stack
from pipelines import bronze, delta, lake
from schemas import contract as contracts
from schemas import topics
from tests.conftest import temporary_stack

pytestmark = [pytest.mark.spark, pytest.mark.stack]
RECORDS = 3000
INGEST = """
import sys
from pathlib import Path
from pipelines import bronze, session
from pipelines.settings import Settings
lake, jars, kafka = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
spark = session.build(Settings(lake=lake, jars=jars))
bronze.ingest(spark, lake, kafka, records_per_batch=300)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A broker of its own: nobody else is to read these records."""
    yield from temporary_stack(("kafka",))


@pytest.fixture
def kafka(stack) -> str:
    return stack.env["MILLRACE_KAFKA"]


@pytest.mark.long
def test_bronze_has_every_record_once_after_kills_between_and_inside_batches(
    spark, kafka, stack, tmp_path
) -> None:
    expected = _produce(kafka)
    jars = stack.env["MILLRACE_JARS"]
    for commits in (1, 3):
        _ingest_until(tmp_path, jars, kafka, commits)
    bronze.ingest(spark, tmp_path, kafka)
    rows = delta.read(spark, lake.bronze(tmp_path)).select("topic", "partition", "offset", "key")
    seen = Counter((r["topic"], r["partition"], r["offset"]) for r in rows.collect())
    assert max(seen.values()) == 1
    ours = {bytes(r["key"]) for r in rows.collect() if bytes(r["key"] or b"").startswith(b"kill-")}
    assert ours == expected
    for (topic, partition), offsets in _by_partition(seen).items():
        assert sorted(offsets) == list(range(min(offsets), max(offsets) + 1)), (topic, partition)
    assert bronze.ingest(spark, tmp_path, kafka).rows == {}


def test_a_checkpoint_that_is_gone_is_refused(spark, kafka, tmp_path) -> None:
    _produce(kafka, 10)
    bronze.ingest(spark, tmp_path, kafka)
    lake.bronze_checkpoint(tmp_path).rename(tmp_path / "elsewhere")
    with pytest.raises(bronze.BronzeError, match="checkpoint"):
        bronze.ingest(spark, tmp_path, kafka)


def test_a_broker_that_does_not_answer_is_named(spark, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(bronze, "BROKER_TIMEOUT_S", 1.0)
    with pytest.raises(bronze.BronzeError, match=r"no Kafka broker answers at 127\.0\.0\.1:9"):
        bronze.ingest(spark, tmp_path, "127.0.0.1:9")


def _produce(kafka: str, records: int = RECORDS) -> set[bytes]:
    producer = Producer({"bootstrap.servers": kafka})
    # The contract's own topic; the values are nobody's records, which bronze does not mind.
    topic = contracts.load("offers").topic
    keys = {f"kill-{time.time_ns()}-{n}".encode() for n in range(records)}
    for key in keys:
        producer.produce(topic, b"value of " + key, key)
    assert producer.flush(30) == 0
    assert topic in topics.captured()
    return keys


def _ingest_until(folder: Path, jars: str, kafka: str, commits: int) -> None:
    """Run the query in its own process and kill it after so many commits."""
    process = subprocess.Popen(
        [sys.executable, "-c", INGEST, str(folder), jars, kafka], start_new_session=True
    )
    log = lake.bronze(folder) / "_delta_log"
    limit = time.monotonic() + 120
    while process.poll() is None and len(list(log.glob("*.json"))) < commits:
        assert time.monotonic() < limit, "no commit within two minutes"
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _by_partition(seen: Counter[Any]) -> dict[tuple[str, int], list[int]]:
    grouped: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in seen:
        grouped.setdefault((topic, partition), []).append(offset)
    return grouped
