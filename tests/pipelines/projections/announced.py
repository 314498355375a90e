"""Events as Kafka brings them: the outbox's own records in real Avro, with their headers."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from oltp import outbox
from pipelines import bronze, delta, lake
from schemas import events
from tests.pipelines.conftest import wire

START = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = UUID(int=7)
PROVIDER = UUID(int=8)
MONEY: dict[str, Any] = {"amount_minor": 100, "currency": "USD"}
TERMS: dict[str, Any] = {"interest_rate": Decimal("0.071250"), "term_months": 12}
SCHEMAS = {n: json.dumps(e.schema) for n, e in enumerate(events.load_all(), 1)}
IDS = {e.name: n for n, e in enumerate(events.load_all(), 1)}
DDL = (
    "topic string, partition int, offset long, key binary, value binary,"
    " headers array<struct<key:string,value:binary>>"
)
Record = tuple[Any, ...]


@dataclass
class Outbox:
    """Announces events of one log: each takes the next place in it."""

    lsn: int = 1000
    offsets: dict[str, int] = field(default_factory=dict)

    def announce(self, name: str, subject: UUID, tx: int = 100, **payload: Any) -> Record:
        self.lsn += 10
        at = START + timedelta(seconds=self.lsn)
        event = outbox.Event(f"credit.{name}", subject, payload, at, "corr")
        kind = events.load(event.type)
        number = IDS[kind.name]
        value = wire(number, SCHEMAS[number], outbox.record(event))
        offset = self.offsets[kind.topic] = self.offsets.get(kind.topic, -1) + 1
        headers = [("id", str(event.event_id).encode()), ("actor_id", None)]
        headers += [("tx_id", str(tx).encode()), ("lsn", str(self.lsn).encode())]
        return (kind.topic, 0, offset, str(subject).encode(), value, headers)


def life(box: Outbox, number: int, chance: random.Random) -> list[Record]:
    """What is announced of one application, with an end at random."""
    application, credit = UUID(int=number << 32), UUID(int=(number << 32) + 1)
    offers = [UUID(int=(number << 32) + 10 + n) for n in range(chance.randint(1, 3))]
    customer, of = {"customer_id": str(CUSTOMER)}, {"application_id": str(application)}
    told = [
        box.announce("application.submitted", application, **customer, purpose="car",
                     requested_amount_minor=number, currency="USD", term_months=12,
                     submitted_at=START),
        box.announce("provider.quoted", PROVIDER, **of, outcome="OFFERED", offers=1,
                     latency_ms=5),
    ]  # fmt: skip
    end = chance.choice(["WITHDRAWN", "DECLINED", "APPROVED", "APPROVED", "OPEN"])
    if end == "WITHDRAWN":
        told.append(box.announce("application.withdrawn", application, **customer, reason=None))
    if end not in ("DECLINED", "APPROVED"):
        return told
    reasons = ["DTI"] if end == "DECLINED" else []
    told.append(box.announce("application.decided", application, **customer, decision=end,
                             reasons=reasons, rule_version="v1"))  # fmt: skip
    if end == "DECLINED":
        return told
    for offer in offers:
        told.append(
            box.announce("offer.presented", offer, **of, **MONEY, **TERMS, valid_until=START,
                         provider_id=str(PROVIDER), apr=Decimal("0.08"), monthly_payment_minor=9)
        )  # fmt: skip
    by = of | customer | {"provider_id": str(PROVIDER)}
    told += [box.announce("offer.declined", o, **by, reason=None) for o in offers[1:]]
    told += [
        box.announce("offer.accepted", offers[0], **by, **MONEY),
        box.announce("credit.disbursed", credit, **customer, **TERMS, offer_id=str(offers[0]),
                     principal_minor=100, currency="USD", disbursed_on=date(2026, 1, 2),
                     matures_on=date(2027, 1, 2)),
    ]  # fmt: skip
    if chance.random() < 0.6:
        told.append(box.announce("credit.paid_off", credit, **customer, currency="USD",
                                 paid_off_on=date(2026, 5, 5)))  # fmt: skip
    return told


def land(spark: Any, folder: Path, batch: int, records: list[Record]) -> None:
    """Append the records to bronze as one batch, as the query does."""
    checkpoint = lake.bronze_checkpoint(folder)
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "metadata").write_text('{"id": "test"}')
    rows = spark.createDataFrame(records, DDL).selectExpr("*", "current_timestamp() as timestamp")
    delta.append(
        bronze.shaped(rows, batch).coalesce(1),
        lake.bronze(folder),
        delta.Mark(bronze.source(folder), batch),
        partition_by=("entity",),
        statistics=bronze.STATISTICS,
    )
