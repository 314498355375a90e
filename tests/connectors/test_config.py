"""The connector's settings: complete, without secrets, and about exactly the published tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

from connectors import config
from schemas import contract, topics

MIGRATIONS = Path(__file__).parents[2] / "oltp" / "migrations"
OPS = MIGRATIONS / "0013.ops.sql"
MIGRATION = MIGRATIONS / "0014.capture.sql"


def rendered() -> dict[str, str]:
    return config.render(
        registry_url="http://127.0.0.1:8080/apis/ccompat/v7",
        oltp_host="db",
        oltp_port=5433,
        oltp_db="oltp",
    )


def test_every_placeholder_is_filled():
    settings = rendered()
    assert not [name for name, text in settings.items() if config.PLACEHOLDER.search(text)]
    assert settings["database.hostname"] == "db"
    assert settings["database.port"] == "5433"
    url = "http://127.0.0.1:8080/apis/registry/v2"
    assert settings["key.converter.apicurio.registry.url"] == url
    assert settings["value.converter.delegate.converter.type.apicurio.registry.url"] == url


def test_the_password_is_a_reference_that_only_connect_resolves():
    assert rendered()["database.password"] == "${env:MILLRACE_CDC_PASSWORD}"


def test_the_tables_read_are_the_tables_published():
    text = MIGRATION.read_text()
    published = re.search(r"create publication millrace for table(.*?)with", text, re.S)[1]
    assert sorted(config.captured_tables()) == sorted(re.findall(r"[\w.]+", published))


def test_each_column_of_the_outbox_has_its_place_in_the_message():
    settings = rendered()
    router = "transforms.outbox."
    columns = re.search(r"create table ops\.outbox \((.*?)\n\);", OPS.read_text(), re.S)[1]
    named = [settings[f"{router}table.field.event.{part}"] for part in ("id", "key", "payload")]
    placed = settings[f"{router}table.fields.additional.placement"].split(",")
    headers = [column.removesuffix(":header") for column in placed]
    topic = settings[f"{router}route.by.field"]
    assert settings[f"{router}route.topic.replacement"] == "${routedByValue}"
    kinds = "uuid|text|integer|bigint|bytea|timestamptz"
    found = set(re.findall(rf"^    (\w+) (?:{kinds})", columns, re.M))
    assert found == {*named, topic, *headers, "event_version", "created_at"}


def test_the_outboxs_bytes_pass_and_everything_else_is_avro_as_the_keys_are():
    settings = rendered()
    delegate = "value.converter.delegate.converter.type"
    assert settings["value.converter"] == "io.debezium.converters.BinaryDataConverter"
    assert settings[delegate] == settings["key.converter"]
    prefix = "key.converter."
    for name, text in settings.items():
        if name.startswith(prefix):
            assert settings[f"{delegate}.{name.removeprefix(prefix)}"] == text


def test_names_agree_with_the_topics():
    settings = rendered()
    assert settings["topic.prefix"] == topics.PREFIX
    assert settings["predicates.isOutbox.pattern"] == re.escape(topics.OUTBOX_TABLE)
    assert settings["notification.sink.topic.name"] == topics.NOTICES
    for captured in contract.load_all():
        assert f"{settings['topic.prefix']}.{captured.source}" == captured.topic


def test_the_file_holds_only_text_as_connect_wants_it():
    settings = json.loads(config.FILE.read_text())
    assert all(isinstance(text, str) for text in settings.values())
