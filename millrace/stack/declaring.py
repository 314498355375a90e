"""Declares what schemas/ says to the running services: topics and event schemas; idempotent."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from millrace.stack.errors import StackError


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


def register_schemas(registry: str) -> list[str]:
    """Register the event schemas (subject `<topic>-value`), each changing only compatibly."""
    from schemas import events

    subjects = []
    for file in sorted(Path(events.FOLDER).glob("*.avsc")):
        subject = f"{file.stem}-value"
        compact = json.dumps(json.loads(file.read_text()), separators=(",", ":"))
        _send("POST", f"{registry}/subjects/{subject}/versions", {"schema": compact})
        _send("PUT", f"{registry}/config/{subject}", {"compatibility": "BACKWARD"})
        subjects.append(subject)
    return subjects


def _send(method: str, url: str, body: dict[str, str]) -> None:
    request = urllib.request.Request(  # noqa: S310
        url,
        data=json.dumps(body).encode(),
        method=method,
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")[:1000]
        raise StackError(f"{method} {url} answers {error.code}: {reason}") from error
