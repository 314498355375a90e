"""How far the readers are behind: consumer groups in messages, replication slots in bytes."""

from collections.abc import Mapping

TIMEOUT_S = 5


def of_slots(admin_dsn: str) -> dict[str, int]:
    """Bytes of log that each replication slot has not confirmed."""
    import psycopg

    try:
        with psycopg.connect(admin_dsn, connect_timeout=2) as connection:
            rows = connection.execute(
                "select slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)"
                " from pg_replication_slots where confirmed_flush_lsn is not null"
            ).fetchall()
    except psycopg.Error:
        return {}
    return {str(name): int(behind) for name, behind in rows}


def of_groups(servers: str) -> dict[str, int]:
    """Messages that each of our consumer groups has not committed."""
    from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    try:
        known = admin.list_consumer_groups(request_timeout=TIMEOUT_S).result().valid
        committed: dict[str, Mapping[tuple[str, int], int]] = {}
        for group in sorted(g.group_id for g in known if g.group_id.startswith("millrace")):
            asked = admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S
            )
            partitions = asked[group].result().topic_partitions or []
            committed[group] = {(p.topic, p.partition): p.offset for p in partitions}
        places = {place for offsets in committed.values() for place in offsets}
        if not places:
            return dict.fromkeys(committed, 0)
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        ends = admin.list_offsets(
            {TopicPartition(*place): latest for place in places},
            request_timeout=TIMEOUT_S,
        )
        end = {(tp.topic, tp.partition): future.result().offset for tp, future in ends.items()}
    except KafkaException:
        return {}
    return {
        group: sum(max(0, end[place] - max(0, offset)) for place, offset in offsets.items())
        for group, offsets in committed.items()
    }
