"""Every Kafka topic: name, key, partitions and retention. The only file with topic names.

CDC topics carry Debezium's own names (`oltp.<schema>.<table>`, keyed by primary key, in commit
order per key). Event topics are `credit.<entity>.<past participle>.v<major>`; a dead-letter topic
adds `.dlq` and keeps the original bytes for as long as it takes to look at them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import contract, events

PREFIX = "oltp"
AUTHORIZATION_REQUESTED = "credit.authorization.requested.v1"
AUTHORIZATION_DECIDED = "credit.authorization.decided.v1"
HEARTBEAT = f"__debezium-heartbeat.{PREFIX}"
HEARTBEAT_TABLE = f"{PREFIX}.ops.heartbeat"
SIGNAL_TABLE = f"{PREFIX}.ops.signal"
# Where the connector tells how far a snapshot has come.
NOTICES = f"__debezium-notification.{PREFIX}"
OUTBOX_TABLE = f"{PREFIX}.ops.outbox"

DAY_MS = 24 * 60 * 60 * 1000
# Tables that are not published are quiet ones, and every partition costs the broker its share.
PARTITIONS_OF_PUBLISHED, PARTITIONS_OF_OTHERS = 3, 1
# One connector task writes the outbox in commit order: one partition keeps that order too.
EVENT_PARTITIONS = 1
# Tables that are not published and that the worker follows all the same.
FOLLOWED = ("aml_checks", "card_messages", "programs")


@dataclass(frozen=True)
class Topic:
    """A topic as it is declared to the broker."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def dead_letter(topic: str) -> str:
    """Where the undecodable messages of `topic` go."""
    return f"{topic}.dlq"


def dead_letters() -> tuple[str, ...]:
    """Every dead-letter topic: of requests, and of the tables that streams may read."""
    published = (c.topic for c in contract.load_published())
    followed = (contract.load(entity).topic for entity in FOLLOWED)
    return tuple(dead_letter(name) for name in (AUTHORIZATION_REQUESTED, *published, *followed))


def consumer_group(capability: str) -> str:
    """The consumer group of a streams capability: where its lag is read."""
    return f"millrace.{capability}"


def captured() -> tuple[str, ...]:
    """The CDC topics of every contract: what a tick waits for."""
    return tuple(c.topic for c in contract.load_all())


def archived() -> dict[str, str]:
    """What bronze reads: topic -> entity. A table's is its stem, an event's its name."""
    events_of_ours = (*announced(), AUTHORIZATION_REQUESTED, AUTHORIZATION_DECIDED)
    return {
        **{c.topic: c.entity for c in contract.load_all()},
        **{name: name.rpartition(".v")[0] for name in events_of_ours},
    }


def announced() -> tuple[str, ...]:
    """The topics of the outbox: one an event type."""
    return tuple(event.topic for event in events.load_all())


def all_topics() -> tuple[Topic, ...]:
    """Every topic to create, CDC first. Declaring them again changes nothing."""
    # Bronze is the archive: a week in Kafka is time to repair a stopped pipeline.
    week = {"retention.ms": str(7 * DAY_MS), "cleanup.policy": "delete"}
    month = {"retention.ms": str(30 * DAY_MS), "cleanup.policy": "delete"}
    brief = {"retention.ms": str(DAY_MS), "cleanup.policy": "delete"}
    requests = (AUTHORIZATION_REQUESTED, AUTHORIZATION_DECIDED)
    return (
        *(Topic(c.topic, _partitions(c), week) for c in contract.load_all()),
        *(Topic(name, 3, week) for name in requests),
        *(Topic(name, EVENT_PARTITIONS, week) for name in announced()),
        *(Topic(name, 1, month) for name in dead_letters()),
        *(Topic(name, 1, brief) for name in (HEARTBEAT, HEARTBEAT_TABLE, SIGNAL_TABLE, NOTICES)),
    )


def _partitions(table: contract.Contract) -> int:
    return PARTITIONS_OF_PUBLISHED if table.published else PARTITIONS_OF_OTHERS
