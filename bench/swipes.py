"""What the authorization benches share: a stack with cards, and three sides that decide.

Each side has topics of its own on the same broker and leaves the same effects: a decision, a hold,
its ledger entry in Postgres, the card's history in Redis, an answer on its decided topic, a
committed offset. Nothing is captured meanwhile: Connect and Spark do not run.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import httpx
import psycopg
import redis
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from fastavro.types import Schema

from bench.own_stack import own_stack
from millrace.stack import Stack
from oltp.ledger import controls
from schemas import events, topics
from schemas.events import request_hash

CARDS, SIDES = 3000, 3
PARTITIONS = 3
# Avro's first field of a decision: a length byte and the 36 letters of the request's id.
REQUEST_ID = slice(6, 42)
READY_WITHIN_S = 60
# The open loop sends and listens this often, so a latency is too long by half of it.
TICK_S = 0.002
MAKE_CARDS = """
create schema bench;
create table bench.cards as
select md5('customer' || n)::uuid as customer_id, md5('account' || n)::uuid as account_id,
    md5('card' || n)::uuid as card_id
from generate_series(1, {cards}) n;
insert into customer.customers (customer_id, country) select customer_id, 'DE' from bench.cards;
insert into kyc.kyc_records (kyc_record_id, customer_id, verification_type, status, provider,
    risk_level, verified_at, expires_at)
select md5('kyc' || customer_id)::uuid, customer_id, 'IDENTITY', 'VERIFIED', 'bench', 'LOW', now(),
    now() + interval '1 year'
from bench.cards;
insert into card.card_accounts (account_id, customer_id, currency, credit_limit_minor, opened_on)
select account_id, customer_id, 'USD', 1000000000000, '2026-01-01' from bench.cards;
insert into card.cards (card_id, account_id, product, issued_on, expires_on)
select card_id, account_id, 'CLASSIC', '2026-01-01', '2036-01-01' from bench.cards;
analyze;
"""


@dataclass
class Side:
    """One contender: its topics, and how it is started and stopped."""

    name: str
    stack: Stack
    requested: str
    decided: str
    share: int = 0
    command: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start deciding; what waits on the topic is decided at once."""
        if not self.command:
            self.stack.start("worker")
            return
        self.process = subprocess.Popen(
            [sys.executable, *self.command],
            env={
                **os.environ,
                **self.stack.env,
                "BENCH_TOPICS": f"{self.requested},{self.decided}",
            },
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        if not self.command:
            self.stack.stop("worker")
        elif self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    @property
    def pid(self) -> int:
        """The deciding process."""
        pid = self.process.pid if self.process is not None else self.stack.pid("worker")
        if pid is None:
            raise RuntimeError(f"{self.name} does not run")
        return pid


@dataclass
class Swipes:
    """Requests for the cards of one stack, and the answers to them."""

    stack: Stack
    # Our worker, the raw loop, and a plain Faust agent that takes one event at a time.
    sides: tuple[Side, Side, Side]
    cards: list[str]
    schema_id: int
    schema: Schema
    producer: Producer
    asked: int = 0

    def request(self, side: Side, deadline_s: float = 3600) -> tuple[str, bytes, bytes]:
        """The side's next request as (id, key, message): one minor unit, a card after the other.

        Each side has cards of its own: a rival knows nothing of what another decided.
        """
        cards = self.cards[side.share :: SIDES]
        card_id = cards[self.asked % len(cards)]
        self.asked += 1
        body: dict[str, Any] = {
            "card_id": card_id,
            "amount_minor": 1,
            "currency": "USD",
            "merchant_id": f"M-{self.asked % 50}",
            "mcc": "5411",
            "merchant_country": "DE",
            "channel": "CHIP",
        }
        now = datetime.now(UTC)
        request_id = str(uuid.uuid4())
        record = {
            **body,
            "request_id": request_id,
            "idempotency_key": f"B-{request_id}",
            "request_hash": request_hash(**body),
            "requested_at": now,
            "deadline_at": now + timedelta(seconds=deadline_s),
            "correlation_id": request_id,
        }
        out = io.BytesIO(b"\x00" + self.schema_id.to_bytes(4, "big"))
        out.seek(5)
        fastavro.schemaless_writer(out, self.schema, record)
        return request_id, card_id.encode(), out.getvalue()

    def fill(self, side: Side, requests: int) -> None:
        """Put requests on the side's topic, as fast as they can be made."""
        for _ in range(requests):
            _, key, value = self.request(side)
            self.producer.produce(side.requested, value, key)
            self.producer.poll(0)
        self.producer.flush()

    def listen(self, side: Side) -> Consumer:
        """A consumer at the end of the side's decided topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.stack.env["MILLRACE_KAFKA"],
                "group.id": f"bench-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        parts = [TopicPartition(side.decided, n) for n in range(PARTITIONS)]
        for part in parts:
            part.offset = consumer.get_watermark_offsets(part, timeout=10)[1]
        consumer.assign(parts)
        return consumer

    def rate(self, side: Side, requests: int) -> float:
        """Decisions a second while the side works off what waits for it, start-up apart."""
        self.fill(side, requests)
        consumer = self.listen(side)
        side.start()
        try:
            seen, began, ended = 0, 0.0, 0.0
            first = 0
            until = time.monotonic() + READY_WITHIN_S + requests / 50
            while seen < requests:
                found = len([m for m in consumer.consume(1000, 0.01) if m.error() is None])
                if found:
                    ended = time.perf_counter()
                    seen += found
                    if not first:
                        first, began = found, ended
                if time.monotonic() > until:
                    raise TimeoutError(f"{side.name} answered {seen} of {requests}")
            return (seen - first) / (ended - began)
        finally:
            side.stop()
            consumer.close()

    def latencies_ms(self, side: Side, rate: float, seconds: float) -> list[float]:
        """Open loop: each request has its moment, latency counts from then until its answer."""
        total = int(rate * seconds)
        # Made beforehand: two cores are the platform's, and the bench should take little of them.
        requests = [self.request(side) for _ in range(total)]
        consumer = self.listen(side)
        planned: dict[str, float] = {}
        latencies: list[float] = []
        sent = 0
        began = time.perf_counter() + 0.2
        until = began + seconds + 30
        while len(latencies) < total and time.perf_counter() < until:
            due = min(total, 1 + int((time.perf_counter() - began) * rate))
            for request_id, key, value in requests[sent : max(sent, due)]:
                planned[request_id] = began + sent / rate
                self.producer.produce(side.requested, value, key)
                sent += 1
            self.producer.poll(0)
            found = consumer.consume(1000, TICK_S)
            now = time.perf_counter()
            for message in found:
                moment = planned.pop((message.value() or b"")[REQUEST_ID].decode(), None)
                if moment is not None:
                    latencies.append((now - moment) * 1000)
        consumer.close()
        if len(latencies) < total:
            raise TimeoutError(f"{side.name} answered {len(latencies)} of {total}")
        return latencies

    def check(self) -> None:
        """Every key was decided once, every balance can be proved: or the figures mean nothing."""
        with psycopg.connect(self.stack.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
            approved = connection.execute(
                "select count(*), count(*) filter (where decision = 'APPROVED')"
                " from card.authorizations where idempotency_key like 'B-%'"
            ).fetchone()
            broken = [found for found in controls.check(connection) if found.count]
        if approved != (self.asked, self.asked) or broken:
            raise RuntimeError(f"{self.asked} asked, {approved} decided and approved; {broken}")
        print(
            f"checked: {self.asked:,} requests, as many approvals; the ledger's controls are empty"
        )


def _sides(stack: Stack) -> tuple[Side, Side, Side]:
    ours = Side("worker", stack, topics.AUTHORIZATION_REQUESTED, topics.AUTHORIZATION_DECIDED)
    raw = Side("raw loop", stack, "bench.raw.in", "bench.raw.out", 1, ("-m", "bench.raw_loop"))
    event = Side(
        "per event", stack, "bench.event.in", "bench.event.out", 2, ("-m", "bench.per_event")
    )
    return ours, raw, event


@contextmanager
def running(parts: tuple[str, ...] = ("worker",)) -> Iterator[Swipes]:
    """A stack of its own with cards and every side's topics; nobody decides before and after."""
    with own_stack(*parts) as stack:
        stack.stop("worker")
        sides = _sides(stack)
        rivals = sides[1:]
        try:
            _make_topics(stack, [t for side in rivals for t in (side.requested, side.decided)])
            yield Swipes(stack, sides, _make_cards(stack), *_schema(stack), _producer(stack))
        finally:
            for side in rivals:
                side.stop()


def _make_topics(stack: Stack, names: list[str]) -> None:
    admin = AdminClient({"bootstrap.servers": stack.env["MILLRACE_KAFKA"]})
    made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    for one in made.values():
        with suppress(KafkaException):
            one.result(30)


def _make_cards(stack: Stack) -> list[str]:
    with psycopg.connect(stack.env["MILLRACE_OLTP_ADMIN_DSN"], autocommit=True) as connection:
        connection.execute(MAKE_CARDS.format(cards=CARDS))
        return [row[0] for row in connection.execute("select card_id::text from bench.cards")]


def _schema(stack: Stack) -> tuple[int, Schema]:
    text = (events.FOLDER / f"{topics.AUTHORIZATION_REQUESTED}.avsc").read_text()
    answer = httpx.post(
        f"{stack.env['MILLRACE_REGISTRY']}/subjects/{topics.AUTHORIZATION_REQUESTED}-value/versions",
        json={"schema": text, "schemaType": "AVRO"},
        timeout=30,
    ).raise_for_status()
    return int(answer.json()["id"]), fastavro.parse_schema(json.loads(text))


def _producer(stack: Stack) -> Producer:
    return Producer(
        {
            "bootstrap.servers": stack.env["MILLRACE_KAFKA"],
            "acks": "all",
            "linger.ms": 1,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def clear_redis(stack: Stack) -> None:
    """Both sides begin without copies."""
    redis.Redis.from_url(stack.env["MILLRACE_REDIS"]).flushall()
