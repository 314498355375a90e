"""Declares what schemas/ says to the running services: topics and event schemas; idempotent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import httpx
import psycopg

from millrace.stack.errors import StackError

if TYPE_CHECKING:
    from connectors.event_schemas import Registered


def create_topics(servers: str) -> list[str]:
    """Create the topics of schemas/topics.py that the broker lacks; returns their names."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    from schemas import topics

    admin = AdminClient({"bootstrap.servers": servers})
    known = admin.list_topics(timeout=30).topics
    wanted = [
        NewTopic(topic.name, num_partitions=topic.partitions, config=topic.config)
        for topic in topics.all_topics()
        if topic.name not in known
    ]
    if not wanted:
        return []
    created = []
    for name, future in admin.create_topics(wanted, operation_timeout=30).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StackError(f"topic {name} was not created: {error}") from error
    return created


def register_schemas(registry: str, oltp_admin_dsn: str) -> list[str]:
    """Register the event schemas and tell the outbox their ids; returns the topics."""
    from connectors import event_schemas

    try:
        registered = event_schemas.register(registry)
    except (event_schemas.SchemaRefused, httpx.HTTPError) as error:
        raise StackError(f"event schemas were not registered: {error}") from error
    _store_ids(oltp_admin_dsn, {known.topic: known for known in registered})
    return [known.topic for known in registered]


def _store_ids(oltp_admin_dsn: str, known: Mapping[str, "Registered"]) -> None:
    from schemas import events

    rows = [
        (
            event.name,
            event.version,
            event.event_class.value,
            known[event.topic].schema_id,
            known[event.topic].fingerprint,
        )
        for event in events.load_all()
    ]
    with psycopg.connect(oltp_admin_dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.event_schemas"
            " (event_type, version, event_class, schema_id, fingerprint)"
            " values (%s, %s, %s, %s, %s)"
            " on conflict (event_type, version) do update set event_class = excluded.event_class,"
            " schema_id = excluded.schema_id, fingerprint = excluded.fingerprint,"
            " registered_at = now()"
            " where (event_schemas.schema_id, event_schemas.fingerprint)"
            " <> (excluded.schema_id, excluded.fingerprint)",
            rows,
        )
