"""Seeded traffic straight to the request topic: swipes, repeats, reversals, increments, advices.

The same seed sends the same requests for the same cards in the same order; only ids of attempts
and times differ.
"""

from __future__ import annotations

import io
import json
import random
import threading
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import Any

import fastavro
import httpx
import psycopg
from confluent_kafka import Producer

from schemas import events, topics
from schemas.codes_card import CardMessageKind, MessageKind
from schemas.events import AuthorizationRequested, request_hash

# Any earlier request that a repeat, a reversal or an increment may refer to is one of these.
REMEMBERED = 20_000
# What is sent, and how often in a thousand.
MIX = {
    "purchase": 885,
    "repeat": 30,
    "conflict": 5,
    "reversal": 40,
    "increment": 20,
    "verification": 10,
    "advice": 6,
    "orphan": 4,
}
KINDS, WEIGHTS = list(MIX), list(accumulate(MIX.values()))
# How long callers wait: nearly all, and one in a hundred.
PATIENCE, IMPATIENCE = timedelta(hours=1), timedelta(milliseconds=300)
COUNTRIES = ("CZ",) * 60 + ("SK", "DE", "AT", "PL")
CHANNELS = ("ECOMMERCE",) * 5 + ("CHIP", "CONTACTLESS", "CONTACTLESS")
MCCS = ("5411", "5812", "5541", "5999", "4111", "5542")
MAKE_CARDS = """
create temp table made as
select md5('%(seed)s customer' || n)::uuid as customer_id,
    md5('%(seed)s account' || n)::uuid as account_id, md5('%(seed)s card' || n)::uuid as card_id,
    %(limit)s + n %% 7 * %(limit)s as credit_limit_minor
from generate_series(1, %(accounts)s) n;
insert into customer.customers (customer_id, country) select customer_id, 'CZ' from made;
insert into kyc.kyc_records (kyc_record_id, customer_id, verification_type, status, provider,
    risk_level, verified_at, expires_at)
select md5('kyc' || customer_id)::uuid, customer_id, 'IDENTITY', 'VERIFIED', 'test', 'LOW', now(),
    now() + interval '1 year'
from made;
insert into card.card_accounts (account_id, customer_id, currency, credit_limit_minor, opened_on)
select account_id, customer_id, 'CZK', credit_limit_minor, '2026-01-01' from made;
insert into card.cards (card_id, account_id, product, issued_on, expires_on)
select card_id, account_id, 'CLASSIC', '2026-01-01', '2036-01-01' from made;
insert into card.spend_limits (card_id, period, currency, count_limit, amount_limit_minor)
select card_id, 'DAY', 'CZK', 700, credit_limit_minor / 2
from made where get_byte(uuid_send(card_id), 0) < 64;
select card_id::text, account_id::text from made order by card_id;
"""


@dataclass(frozen=True)
class Card:
    """A card and its account."""

    card_id: str
    account_id: str


def make_cards(admin_dsn: str, accounts: int, seed: int, limit_minor: int) -> list[Card]:
    """Accounts with a card each, limits between `limit_minor` and seven times that."""
    statement = MAKE_CARDS % {"seed": seed, "accounts": accounts, "limit": limit_minor}
    with psycopg.connect(admin_dsn) as connection:
        cursor = connection.execute(statement)
        while cursor.nextset():
            pass
        cards = [Card(*row) for row in cursor.fetchall()]
        connection.execute("drop table made")
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("analyze")
    return cards


class Swipes:
    """Makes requests and sends them; `sent` counts them by kind."""

    def __init__(self, env: Mapping[str, str], cards: Sequence[Card], seed: int) -> None:
        self._cards = cards
        self._random = random.Random(seed)
        self._seed = seed
        self._number = 0
        self._earlier: deque[AuthorizationRequested] = deque(maxlen=REMEMBERED)
        self._schema_id, self._schema = _schema(env["MILLRACE_REGISTRY"])
        self._producer = _producer(env["MILLRACE_KAFKA"])
        self.sent: Counter[str] = Counter()
        self.failed: list[str] = []

    def next(self) -> tuple[str, AuthorizationRequested]:
        """The next request of the mix, and what it is."""
        (kind,) = self._random.choices(KINDS, cum_weights=WEIGHTS)
        if not self._earlier and kind in ("repeat", "conflict", "reversal", "increment"):
            kind = "purchase"
        return kind, getattr(self, f"_{kind}")()

    def send(self, count: int = 1) -> None:
        """Send so many, as fast as the producer takes them."""
        for _ in range(count):
            kind, request = self.next()
            self.send_one(request)
            self.sent[kind] += 1

    def send_one(self, request: AuthorizationRequested) -> None:
        """Hand one over; waits where the producer's own buffer is full."""
        value = self.encode(request)
        while True:
            try:
                self._producer.produce(
                    topics.AUTHORIZATION_REQUESTED,
                    value,
                    request.card_id.encode(),
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def encode(self, request: AuthorizationRequested) -> bytes:
        """The request in wire format."""
        out = io.BytesIO(b"\x00" + self._schema_id.to_bytes(4, "big"))
        out.seek(5)
        fastavro.schemaless_writer(out, self._schema, vars(request))
        return out.getvalue()

    def flush(self, within_s: float = 120) -> None:
        """Wait until the broker has all of it."""
        left = self._producer.flush(within_s)
        assert not left, f"{left} requests were not delivered"
        assert not self.failed, self.failed[:3]

    def send_bytes(self, value: bytes) -> None:
        """Send what is no request."""
        self._producer.produce(topics.AUTHORIZATION_REQUESTED, value, uuid.uuid4().bytes)

    def request(self, **changes: Any) -> AuthorizationRequested:
        """A request of this card or any, under the next key."""
        self._number += 1
        pick = self._random
        body: dict[str, Any] = {
            "card_id": pick.choice(self._cards).card_id,
            "amount_minor": int(min(50_000, max(100, pick.lognormvariate(7.6, 0.9)))),
            "currency": "CZK",
            "merchant_id": f"M-{pick.randrange(500)}",
            "mcc": pick.choice(MCCS),
            "merchant_country": pick.choice(COUNTRIES),
            "channel": pick.choice(CHANNELS),
            "message_kind": MessageKind.PURCHASE,
            "original_key": None,
            "amount_is_total": False,
            "partial_allowed": pick.random() < 0.05,
            **changes,
        }
        key = body.pop("idempotency_key", f"S-{self._seed}-{self._number}")
        now = datetime.now(UTC)
        request_id = str(uuid.uuid4())
        return AuthorizationRequested(
            request_id=request_id,
            idempotency_key=key,
            request_hash=request_hash(**body),
            requested_at=now,
            deadline_at=now + PATIENCE,
            correlation_id=request_id,
            **body,
        )

    def _purchase(self) -> AuthorizationRequested:
        request = self.request()
        if self._random.random() < 0.01:  # its answer may come too late
            request = replace(request, deadline_at=request.requested_at + IMPATIENCE)
        self._earlier.append(request)
        return request

    def _repeat(self) -> AuthorizationRequested:
        return _attempt(self._random.choice(self._earlier))

    def _conflict(self) -> AuthorizationRequested:
        earlier = self._random.choice(self._earlier)
        return self.request(
            card_id=earlier.card_id,
            idempotency_key=earlier.idempotency_key,
            amount_minor=earlier.amount_minor + 1,
        )

    def _reversal(self) -> AuthorizationRequested:
        earlier = self._random.choice(self._earlier)
        is_full = self._random.random() < 0.7
        amount = earlier.amount_minor if is_full else earlier.amount_minor // 2
        return self._about(earlier, CardMessageKind.REVERSAL, amount)

    def _increment(self) -> AuthorizationRequested:
        earlier = self._random.choice(self._earlier)
        is_total = self._random.random() < 0.5
        amount = earlier.amount_minor + 500 if is_total else 500
        return self._about(earlier, MessageKind.INCREMENT, amount, amount_is_total=is_total)

    def _verification(self) -> AuthorizationRequested:
        return self.request(message_kind=MessageKind.VERIFICATION, amount_minor=0)

    def _advice(self) -> AuthorizationRequested:
        self._number += 1
        original = f"S-{self._seed}-{self._number}"
        return self.request(
            message_kind=MessageKind.ADVICE,
            original_key=original,
            idempotency_key=f"advice:{original}",
        )

    def _orphan(self) -> AuthorizationRequested:
        return self.request(
            message_kind=CardMessageKind.REVERSAL, original_key=f"S-{self._seed}-never-asked"
        )

    def _about(
        self, earlier: AuthorizationRequested, kind: str, amount_minor: int, **changes: Any
    ) -> AuthorizationRequested:
        return self.request(
            card_id=earlier.card_id,
            merchant_id=earlier.merchant_id,
            merchant_country=earlier.merchant_country,
            mcc=earlier.mcc,
            channel=earlier.channel,
            message_kind=kind,
            original_key=earlier.idempotency_key,
            amount_minor=amount_minor,
            partial_allowed=False,
            **changes,
        )

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self.failed.append(str(error))


def _attempt(earlier: AuthorizationRequested) -> AuthorizationRequested:
    """The same once more: another attempt under its key."""
    now = datetime.now(UTC)
    request_id = str(uuid.uuid4())
    return replace(
        earlier,
        request_id=request_id,
        correlation_id=request_id,
        requested_at=now,
        deadline_at=now + PATIENCE,
    )


@cache
def _producer(servers: str) -> Producer:
    """One for each broker, for as long as this process lives."""
    return Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.timeout.ms": 120_000,
            "log_level": 0,
        }
    )


def _schema(registry: str) -> tuple[int, Any]:
    text = (events.FOLDER / f"{topics.AUTHORIZATION_REQUESTED}.avsc").read_text()
    answer = httpx.post(
        f"{registry}/subjects/{topics.AUTHORIZATION_REQUESTED}-value/versions",
        json={"schema": text, "schemaType": "AVRO"},
        timeout=30,
    ).raise_for_status()
    return int(answer.json()["id"]), fastavro.parse_schema(json.loads(text))


OPEN_HOLDS = """
select a.idempotency_key, h.account_id::text, h.amount_minor, h.currency::text
from card.holds h join card.authorizations a using (authorization_id)
where h.hold_id > %s and h.status = 'PENDING' order by h.hold_id limit 20
"""
APPLY = "select state, outcome from card.apply_messages(%s::jsonb)"


class Presenting:
    """The network that presents for payment, beside the swipes: clearings, refunds, force posts."""

    def __init__(self, dsn: str, cards: Sequence[Card], seed: int, pause_s: float = 0.3) -> None:
        self._dsn = dsn
        self._cards = cards
        self._random = random.Random(seed)
        self._seed = seed
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.outcomes: Counter[str] = Counter()
        self.error: BaseException | None = None

    def __enter__(self) -> Presenting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            number = 0
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self._stop.wait(self._pause_s):
                    anywhere = uuid.UUID(int=self._random.getrandbits(128))
                    found = connection.execute(OPEN_HOLDS, (anywhere,)).fetchall()
                    number += 1
                    messages = [self._clearing(*row) for row in found]
                    messages.append(self._force_post(number))
                    rows = connection.execute(APPLY, (json.dumps(messages),))
                    self.outcomes.update(f"{state} {outcome}" for state, outcome in rows)
        except BaseException as error:  # the test that uses it fails with it
            self.error = error

    def _clearing(self, key: str, account_id: str, held_minor: int, currency: str) -> Any:
        share = self._random.choice((1.0, 1.0, 1.0, 0.5, 1.2))
        return _message(
            f"C-{self._seed}-{key}",
            CardMessageKind.CLEARING,
            account_id=account_id,
            original_key=key,
            amount_minor=max(1, int(held_minor * share)),
            currency=currency,
            is_final=self._random.random() < 0.9,
        )

    def _force_post(self, number: int) -> Any:
        card = self._random.choice(self._cards)
        kind = self._random.choice((CardMessageKind.FORCE_POST, CardMessageKind.REFUND))
        return _message(
            f"F-{self._seed}-{number}",
            kind,
            account_id=card.account_id,
            card_id=card.card_id,
            amount_minor=self._random.randrange(100, 5000),
            currency="CZK",
        )


def _message(key: str, kind: str, **fields: Any) -> dict[str, Any]:
    """One message as card.apply_messages takes it."""
    body = {"message_key": key, "message_kind": kind, **fields}
    return {
        "request_hash": uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(body)).hex * 2,
        "is_final": True,
        "sequence_number": 1,
        "network": "DOMESTIC",
        "network_ref": key,
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "CZ",
        "occurred_at": datetime.now(UTC).isoformat(),
        "body": body,
        **body,
    }
