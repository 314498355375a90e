"""Batch agents on a real broker, in processes that die."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from millrace.stack import Stack
from schemas.topics import dead_letter
from tests.integration.mortal import POISON

pytestmark = pytest.mark.stack


@pytest.fixture
def topic(stack: Stack) -> str:
    name = f"mortal-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": stack.env["MILLRACE_KAFKA"]})
    new = [NewTopic(name, 3, 1), NewTopic(dead_letter(name), 1, 1)]
    for made in admin.create_topics(new).values():
        made.result(30)
    return name


def put(stack: Stack, topic: str, values: list[str], partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": stack.env["MILLRACE_KAFKA"]})
    for value in values:
        producer.produce(topic, value, partition=partition)
    producer.flush()


def letters(stack: Stack, topic: str) -> list[tuple[bytes, dict[str, str]]]:
    """The topic's dead letters: bytes and headers."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.env["MILLRACE_KAFKA"],
            "group.id": str(uuid.uuid4()),
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([dead_letter(topic)])
    found = consumer.consume(10, timeout=10)
    consumer.close()
    return [(m.value(), {k: v.decode() for k, v in m.headers()}) for m in found]


def work(stack: Stack, topic: str, handled: Path, until: int) -> int:
    """One life of the worker: 9 when it died of the message, 0 when it has handled so many."""
    servers = stack.env["MILLRACE_KAFKA"]
    command = (sys.executable, "-m", "tests.integration.mortal", servers, topic, handled, until)
    return subprocess.run([str(part) for part in command], timeout=60, check=False).returncode


def test_a_message_that_kills_its_worker_goes_to_the_dead_letters_and_the_others_are_handled(
    stack: Stack, topic: str, tmp_path: Path
) -> None:
    handled = tmp_path / "handled"
    put(stack, topic, ["a", "b", POISON, "c"])
    put(stack, topic, ["d", "e"], partition=1)
    lives = []
    while not lives or lives[-1] == 9:
        lives.append(work(stack, topic, handled, until=5))
        assert len(lives) <= 6
    # Once with its batch, then by itself until it has been begun often enough.
    assert lives == [9, 9, 9, 9, 0]
    assert set(handled.read_text().split()) == {"a", "b", "c", "d", "e"}
    ((value, headers),) = letters(stack, topic)
    assert value == POISON.encode()
    assert headers["dlq.error_class"] == "worker_killed"
    assert headers["dlq.error"] == "the worker died 3 times while it handled this message"
    assert (headers["dlq.partition"], headers["dlq.offset"]) == ("0", "2")


def test_a_stopped_worker_has_committed_and_its_successor_repeats_nothing(
    stack: Stack, topic: str, tmp_path: Path
) -> None:
    handled = tmp_path / "handled"
    for partition in range(3):
        put(stack, topic, [f"{partition}-{n}" for n in range(50)], partition)
    assert work(stack, topic, handled, until=150) == 0
    put(stack, topic, ["last"])
    assert work(stack, topic, handled, until=151) == 0
    lines = handled.read_text().split()
    assert sorted(set(lines)) == sorted(lines)
    for partition in range(3):
        mine = [line for line in lines if line.startswith(f"{partition}-")]
        assert mine == [f"{partition}-{n}" for n in range(50)]
