"""The connector's lineage: from every column of a table to the same column of its topic."""

from __future__ import annotations

import json

from openlineage.client.serde import Serde

from connectors import lineage
from schemas import contract


def test_each_captured_column_comes_from_the_same_column_of_its_table():
    start, running = lineage.events("127.0.0.1:9092", "127.0.0.1", 5432, "oltp")
    assert [start.eventType.value, running.eventType.value] == ["START", "RUNNING"]
    event = json.loads(Serde.to_json(start))
    assert event["job"]["name"] == "oltp"
    tables = {dataset["name"] for dataset in event["inputs"]}
    outputs = {dataset["name"]: dataset for dataset in event["outputs"]}
    for captured in contract.load_all():
        assert f"oltp.{captured.source}" in tables
        dataset = outputs[captured.topic]
        assert dataset["namespace"] == "kafka://127.0.0.1:9092"
        fields = dataset["facets"]["columnLineage"]["fields"]
        assert set(fields) == {column.name for column in captured.columns}
        for name, field in fields.items():
            (source,) = field["inputFields"]
            assert source["namespace"] == "postgres://127.0.0.1:5432"
            assert (source["name"], source["field"]) == (f"oltp.{captured.source}", name)


def test_events_go_where_the_environment_says(tmp_path, monkeypatch):
    file = tmp_path / "events.jsonl"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(file))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    lineage.emit("127.0.0.1:9092", "127.0.0.1", 5432, "oltp")
    assert len(file.read_text().splitlines()) == 2
