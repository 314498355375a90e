"""Dead letters on their way back: a request that could not be read is decided once, later."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import httpx
import psycopg
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from millrace import cli, current
from millrace.stack import Stack
from schemas import events, topics
from schemas.events import AuthorizationRequested
from tests.cards import UsableCard, eventually, query
from tests.faults import invariants

pytestmark = pytest.mark.stack
TOPIC = topics.AUTHORIZATION_REQUESTED
SCHEMA = json.loads((events.FOLDER / f"{TOPIC}.avsc").read_text())
LETTER = """
select dead_letter_id, status, attempts, redrive_of, header_names, error_class, released_offset
from ops.dead_letters where message_key = %s order by dead_letter_id
"""
DECIDED = "select decision, amount_minor from card.authorizations where idempotency_key = %s"


@pytest.fixture
def dlq(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(current, "_NAMED_FROM_OUTSIDE", True)
    monkeypatch.setenv("COLUMNS", "200")
    for name, text in stack.env.items():
        monkeypatch.setenv(name, text)
    return lambda *words: CliRunner().invoke(cli.app, ["dlq", *map(str, words)])


def register(stack: Stack, number: int) -> int:
    """The request's schema under another name's subject; the id that it got."""
    text = json.dumps({**SCHEMA, "doc": f"Version {uuid.uuid4()} {number}."})
    answer = httpx.post(
        f"{stack.env['MILLRACE_REGISTRY']}/subjects/test-{uuid.uuid4()}/versions",
        json={"schema": text, "schemaType": "AVRO"},
        timeout=30,
    ).raise_for_status()
    return int(answer.json()["id"])


def request(card: UsableCard, **changes: Any) -> AuthorizationRequested:
    body = card.body(700)
    now = datetime.now(UTC)
    fields = {name: body[name] for name in ("card_id", "amount_minor", "currency", "merchant_id",
                                            "mcc", "merchant_country", "channel")}  # fmt: skip
    return AuthorizationRequested(
        request_id=str(uuid.uuid4()),
        idempotency_key=body["network_transaction_id"],
        request_hash="a" * 64,
        requested_at=now,
        deadline_at=now + timedelta(hours=1),
        correlation_id="test",
        **fields | changes,
    )


def wire(schema_id: int, asked: AuthorizationRequested) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(SCHEMA)), vars(asked))
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def send(stack: Stack, key: bytes, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": stack.env["MILLRACE_KAFKA"]})
    producer.produce(TOPIC, key=key, value=value, headers=[("traceparent", b"1"), ("none", None)])
    assert not producer.flush(30)


def told(stack: Stack, since: invariants.Marks, key: str) -> list[dict[str, Any]]:
    found = invariants.records(stack.env, topics.AUTHORIZATION_DECIDED, since)
    return [one for _, one in found if one and one["idempotency_key"] == key]


def test_a_request_whose_schema_came_later_is_sent_again_and_decided_exactly_once(
    stack: Stack, card: UsableCard, dsn: str, dlq: Callable[..., Result]
) -> None:
    since = invariants.Marks.of(stack.env)
    first, second = register(stack, 1), register(stack, 2)
    next_id = second + (second - first)
    asked = request(card)
    key, value = asked.card_id.encode(), wire(next_id, asked)
    send(stack, key, value)
    eventually(lambda: len(query(dsn, LETTER, key)) == 1)
    ((number, status, attempts, _, names, error_class, _),) = query(dsn, LETTER, key)
    assert (status, attempts, names) == ("HELD", 1, ["traceparent", "none"])
    assert error_class == "unknown_schema"

    looked = dlq("release", "--topic", TOPIC, "--reason", "unknown_schema", "--dry-run")
    assert (looked.exit_code, f"{number} " in looked.output) == (0, True), looked.output
    assert query(dsn, LETTER, key)[0][1] == "HELD"
    assert query(dsn, DECIDED, asked.idempotency_key) == []

    # Before the schema is there it fails again: a letter anew, and the old one says so.
    early = dlq("release", number, "--why", "hoping")
    assert (early.exit_code, "FAILED_AGAIN" in early.output) == (1, True), early.output
    old, new = query(dsn, LETTER, key)
    assert old[1:3] == ("FAILED_AGAIN", 1)
    assert (*new[1:4], new[4][-1]) == ("HELD", 2, number, "dlq.redriven")

    assert register(stack, 3) == next_id
    done = dlq("release", new[0], "--why", "the schema is registered")
    assert (done.exit_code, "HANDLED" in done.output) == (0, True), done.output
    assert query(dsn, DECIDED, asked.idempotency_key) == [("APPROVED", 700)]
    shown = dlq("show", new[0])
    assert "the schema is registered" in shown.output
    assert "HANDLED" in shown.output

    # Again, also after a run that died before it wrote down what it had sent: nothing is sent.
    again = dlq("release", new[0], "--why", "twice")
    assert "0 would be sent again" in again.output
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update ops.dead_letters set status = 'RELEASING', released_offset = null"
            " where dead_letter_id = %s",
            (new[0],),
        )
    repeated = dlq("release", new[0], "--why", "twice")
    assert "HANDLED" in repeated.output, repeated.output
    assert query(dsn, LETTER, key)[1][6] is not None
    assert [answer["replayed"] for answer in told(stack, since, asked.idempotency_key)] == [False]

    # And should the message be in the topic twice, it is answered twice and decided once.
    send(stack, key, value)
    eventually(lambda: len(told(stack, since, asked.idempotency_key)) == 2)
    answers = told(stack, since, asked.idempotency_key)
    assert [answer["replayed"] for answer in answers] == [False, True]
    assert query(dsn, DECIDED, asked.idempotency_key) == [("APPROVED", 700)]
    assert invariants.books(dsn) == []


def test_a_release_must_say_which_letters_and_why(dlq: Callable[..., Result]) -> None:
    assert dlq("release").exit_code == 2
    assert dlq("release", "--reason", "avro").exit_code == 2
    nothing = dlq("release", "--reason", "no such", "--why", "x")
    assert (nothing.exit_code, "0 would be" in nothing.output) == (0, True)
