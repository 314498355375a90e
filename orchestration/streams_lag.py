"""How far the stream agents are behind, read from Kafka and the operational database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from orchestration import news


def of_group(
    bootstrap: str, group: str, topics: Iterable[str], timeout_s: float = 5
) -> news.Offsets:
    """Messages per topic that the group has not yet committed; the whole topic if it never has."""
    return news.newer(
        news.end_offsets(bootstrap, topics, timeout_s), _committed(bootstrap, group, timeout_s)
    )


def last_decision_at(oltp_dsn: str) -> datetime | None:
    """When the newest authorization was decided; None before the first."""
    import psycopg

    with psycopg.connect(oltp_dsn, autocommit=True, connect_timeout=5) as connection:
        row = connection.execute("select max(decided_at) from card.authorizations").fetchone()
    return row[0] if row else None


def _committed(bootstrap: str, group: str, timeout_s: float) -> news.Offsets:
    from confluent_kafka import ConsumerGroupTopicPartitions
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=timeout_s
    )
    partitions = asked[group].result().topic_partitions or []
    return {f"{at.topic}:{at.partition}": at.offset for at in partitions if at.offset >= 0}
