"""A row gets another key: two records with one position. Killed between them, neither is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from confluent_kafka import Producer

from connectors import config, register, rewinding
from millrace.stack import Stack
from tests.conftest import temporary_stack
from tests.faults import capture_invariants as invariants
from tests.faults.capture_client import INSERT, MOVE
from tests.faults.capture_invariants import CUSTOMERS
from tests.topic_log import Log

pytestmark = [pytest.mark.stack, pytest.mark.long]
PEEK = """
select (lsn - '0/0')::bigint, chr(get_byte(data, 0)) from pg_logical_slot_peek_binary_changes(
    'beside', null, null, 'proto_version', '1', 'publication_names', 'millrace')
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: its stored positions are changed by hand."""
    yield from temporary_stack(("connect",))


class Torn:
    """A move that is committed while Connect is away, and the position between its records."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.old, self.new = str(uuid4()), str(uuid4())
        self.dsn = stack.env["MILLRACE_OLTP_ADMIN_DSN"]

    def write(self) -> dict[str, int]:
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute("select pg_create_logical_replication_slot('beside', 'pgoutput')")
            try:
                admin.execute(INSERT, (self.old, f"before-{self.old}"))
                with admin.transaction():
                    admin.execute(MOVE, (self.new, f"after-{self.new}", self.old))
                    admin.execute(INSERT, (str(uuid4()), f"beside-{self.new}"))
                found = admin.execute(PEEK).fetchall()
            finally:
                admin.execute("select pg_drop_replication_slot('beside')")
        (moved,) = (lsn for lsn, kind in found if kind == "U")
        before = max(lsn for lsn, kind in found if kind == "C" and lsn <= moved)
        return {"lsn": moved, "lsn_proc": moved, "lsn_commit": before, "lsn_events_processed": 1}

    def tear(self) -> None:
        """The move is committed, and Connect goes on behind what it takes for sent."""
        with self.while_stopped():
            pass
        register.wait_until_streaming(self.stack.env["MILLRACE_CONNECT"])

    @contextmanager
    def while_stopped(self) -> Iterator[None]:
        """The connector stopped, the move written, the position between its records; resumed."""
        with httpx.Client(base_url=self.stack.env["MILLRACE_CONNECT"], timeout=30) as client:
            path = f"/connectors/{config.NAME}"
            register.stop(client)
            place = self.write()
            (entry,) = client.get(f"{path}/offsets").json()["offsets"]
            change = {**entry, "offset": self.inside(entry["offset"], place)}
            client.patch(f"{path}/offsets", json={"offsets": [change]}).raise_for_status()
            yield
            client.put(f"{path}/resume").raise_for_status()

    def inside(self, position: Any, place: dict[str, int]) -> dict[str, Any]:
        """As Connect stores it when the delete is acknowledged and the row is not."""
        return {**position, **place, "messageType": "UPDATE"}

    def arrived(self) -> list[tuple[str, str]]:
        """(key, operation) of the move's records, once everything written is in Kafka."""
        invariants.drained(self.dsn)
        found = invariants.of_messages(Log(dict(self.stack.env)).read(CUSTOMERS))
        old = [("old", r.op) for r in found if r.key == self.old and r.op not in ("c", "r")]
        return old + [("new", r.op) for r in found if r.key == self.new]


@pytest.fixture
def torn(stack: Stack) -> Torn:
    invariants.drained(stack.env["MILLRACE_OLTP_ADMIN_DSN"])
    return Torn(stack)


WHOLE = [("old", "d"), ("old", "tombstone"), ("new", "c")]


def test_connect_itself_takes_both_for_sent_and_reading_again_heals_it(stack, torn) -> None:
    """What the rewinding is for: once this fails, Debezium no longer needs it."""
    torn.tear()
    assert torn.arrived() == []
    invariants.read_again(stack.env)
    assert torn.arrived() == [("new", "r")]


def test_a_connect_that_starts_again_sends_both(stack, torn) -> None:
    stack.stop("connect")
    place, kafka = torn.write(), stack.env["MILLRACE_KAFKA"]
    (stored,) = rewinding.read(kafka)
    producer = Producer({"bootstrap.servers": kafka})
    text = json.dumps(torn.inside(stored.position, place))
    producer.produce(rewinding.TOPIC, text.encode(), stored.key, stored.partition)
    assert producer.flush(30) == 0
    stack.start("connect")
    register.wait_until_streaming(stack.env["MILLRACE_CONNECT"])
    assert torn.arrived() == WHOLE


def test_a_task_that_failed_is_started_again_and_sends_both(stack, torn) -> None:
    url = stack.env["MILLRACE_CONNECT"]
    with torn.while_stopped():
        # No schema is known to a new task: without the registry its first record fails it.
        stack.stop("registry")
    failed(url)
    stack.start("registry")
    register.wait_until_streaming(url)
    assert torn.arrived() == WHOLE


def failed(url: str) -> None:
    deadline = time.monotonic() + 60
    while register.status(url).state != register.FAILED:
        assert time.monotonic() < deadline, register.status(url)
        time.sleep(0.2)
