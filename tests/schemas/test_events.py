"""Event dataclasses and their Avro schemas say the same."""

import dataclasses
import json
from pathlib import Path

import pytest

from schemas import codes, contract, events, features, keys, topics

PAIRS = [
    (topics.AUTHORIZATION_REQUESTED, events.AuthorizationRequested),
    (topics.AUTHORIZATION_DECIDED, events.AuthorizationDecided),
]


@pytest.mark.parametrize(("topic", "event"), PAIRS, ids=lambda x: getattr(x, "__name__", x))
def test_fields_equal_the_avro_schema(topic: str, event: type) -> None:
    schema = json.loads((events.FOLDER / f"{topic}.avsc").read_text(encoding="utf-8"))
    assert [field["name"] for field in schema["fields"]] == [
        field.name for field in dataclasses.fields(event)
    ]
    assert schema["name"] == event.__name__


def test_every_schema_file_belongs_to_a_topic() -> None:
    of_the_stream = {topic for topic, _ in PAIRS}
    files = {path.stem for path in events.FOLDER.glob("*.avsc")}
    assert files == of_the_stream | set(topics.announced())
    assert files <= {topic.name for topic in topics.all_topics()}


@pytest.mark.parametrize("event", events.load_all(), ids=lambda e: e.name)
def test_an_event_begins_with_the_envelope_and_is_named_after_what_happened(
    event: events.EventType,
) -> None:
    names = [field["name"] for field in event.schema["fields"]]
    assert tuple(names[: len(events.ENVELOPE)]) == events.ENVELOPE
    assert len(names) == len(set(names))
    entity, verb = event.name.split(".")[1:]
    assert event.schema["name"] == "".join(w.title() for w in f"{entity}_{verb}".split("_"))
    assert event.schema["namespace"] == f"credit.{entity}"
    assert all(field["doc"] for field in [event.schema, *event.schema["fields"]])


@pytest.mark.parametrize("event", events.load_all(), ids=lambda e: e.name)
def test_an_event_carries_no_personal_data_and_no_float(event: events.EventType) -> None:
    personal = {c.name for table in contract.load_all() for c in table.columns
                if c.classification == "pii"}  # fmt: skip
    own = set(event.own_fields)
    assert not own & (personal | {"name", "email", "phone", "birth_date", "national_id", "address"})
    for field in event.schema["fields"]:
        assert not {"float", "double"} & set(str(field["type"]).replace("'", " ").split())
        if field["name"].endswith("_minor"):
            assert field["type"] == "long"
            assert "currency" in own


def test_the_events_are_of_all_three_classes() -> None:
    assert {event.event_class for event in events.load_all()} == set(codes.EventClass)


def test_an_unknown_event_names_those_of_its_entity() -> None:
    with pytest.raises(KeyError, match=r"offer\.accepted, credit\.offer\.declined"):
        events.load("credit.offer.excepted")


def test_the_newest_version_of_an_event_is_the_one_that_is_written(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        schema = events.load("credit.card.issued").schema
        (tmp_path / f"credit.card.issued.v{version}.avsc").write_text(json.dumps(schema))
    (event,) = events.load_all(tmp_path)
    assert event.topic == "credit.card.issued.v10"


def test_every_reason_has_one_response_code() -> None:
    assert set(codes.RESPONSE_CODE) == set(codes.Reason)
    approvals = [r for r, code in codes.RESPONSE_CODE.items() if code == "00"]
    assert approvals == [codes.Reason.APPROVED, codes.Reason.STAND_IN_APPROVED]


def test_features_are_named_after_their_entity_and_once() -> None:
    names = [feature.name for feature in features.FEATURES]
    assert len(names) == len(set(names))
    for feature in features.FEATURES:
        assert feature.name.startswith(f"{feature.entity}_")
    with pytest.raises(KeyError, match="card, account"):
        features.of("planet")


def test_keys_of_one_entity_share_a_cluster_slot() -> None:
    assert keys.velocity("card", "c1").split("}")[0] == keys.card_snapshot("c1").split("}")[0]


def test_no_event_carries_a_field_that_some_table_calls_personal() -> None:
    """Bronze keeps events as they are: what a contract classifies does not leave its table."""
    personal = {
        column.name
        for table in contract.load_all()
        for column in table.columns
        if column.classification != "internal"
    }
    for file in events.FOLDER.glob("*.avsc"):
        names = {field["name"] for field in json.loads(file.read_text())["fields"]}
        assert not names & personal, file.name
