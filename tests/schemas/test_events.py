"""Event dataclasses and their Avro schemas say the same."""

import dataclasses
import json

import pytest

from schemas import codes, events, features, keys, topics

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
    assert {path.stem for path in events.FOLDER.glob("*.avsc")} == {topic for topic, _ in PAIRS}


def test_every_reason_has_one_response_code() -> None:
    assert set(codes.RESPONSE_CODE) == set(codes.Reason)
    assert [r for r, code in codes.RESPONSE_CODE.items() if code == "00"] == [codes.Reason.APPROVED]


def test_features_are_named_after_their_entity_and_once() -> None:
    names = [feature.name for feature in features.FEATURES]
    assert len(names) == len(set(names))
    for feature in features.FEATURES:
        assert feature.name.startswith(f"{feature.entity}_")
    with pytest.raises(KeyError, match="card, account"):
        features.of("planet")


def test_keys_of_one_entity_share_a_cluster_slot() -> None:
    assert keys.velocity("card", "c1").split("}")[0] == keys.card_snapshot("c1").split("}")[0]
