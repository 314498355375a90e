"""Events change compatibly, or the gate says which reader would break."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from connectors import event_schemas
from schemas import events

OFFER: dict[str, Any] = events.load("credit.offer.presented").schema
TOPIC = "credit.offer.presented.v1"


def changed(column: str, **facts: Any) -> dict[str, Any]:
    schema = copy.deepcopy(OFFER)
    next(field for field in schema["fields"] if field["name"] == column).update(facts)
    return schema


def with_field(**field: Any) -> dict[str, Any]:
    schema = copy.deepcopy(OFFER)
    schema["fields"].append(field)
    return schema


def without(name: str) -> dict[str, Any]:
    schema = copy.deepcopy(OFFER)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != name]
    return schema


def folder(tmp_path: Path, schema: dict[str, Any]) -> tuple[Path, Path]:
    """A folder with one event, released as it is today and now changed to `schema`."""
    released = tmp_path / "released.jsonl"
    released.write_text(json.dumps({"topic": TOPIC, "schema": OFFER}) + "\n")
    (tmp_path / f"{TOPIC}.avsc").write_text(json.dumps(schema))
    return tmp_path, released


def test_every_schema_can_read_what_was_released() -> None:
    """The gate of `make check`: python -m connectors.event_schemas."""
    assert event_schemas.faults() == []


def test_every_schema_is_recorded_as_released() -> None:
    assert event_schemas.unrecorded() == []


@pytest.mark.parametrize(
    "schema",
    [
        with_field(name="channel", type=["null", "string"], default=None),
        with_field(name="fees_minor", type="long", default=0),
        without("apr"),
        changed("term_months", type="long"),
        changed("currency", doc="Another text."),
    ],
    ids=["optional field", "field with default", "dropped field", "wider type", "text"],
)
def test_a_compatible_change_passes_and_can_be_recorded(
    tmp_path: Path, schema: dict[str, Any]
) -> None:
    files, released = folder(tmp_path, schema)
    assert event_schemas.faults(files, released) == []
    assert event_schemas.record(files, released) == [TOPIC]
    assert event_schemas.unrecorded(files, released) == []
    assert len(released.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (with_field(name="channel", type="string"), "channel"),
        (changed("term_months", type="string"), "reader type: string"),
        (changed("application_id", name="application"), "application"),
        (changed("amount_minor", type="int"), "reader type: int"),
        (
            changed("valid_until", type={"type": "long", "logicalType": "timestamp-millis"}),
            "valid_until was timestamp-micros and would be read as timestamp-millis",
        ),
        (
            changed(
                "apr",
                type={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 4},
            ),
            "apr was decimal of scale 6 and would be read as decimal of scale 4",
        ),
    ],
    ids=["new required", "other type", "renamed", "narrower", "other unit", "other scale"],
)
def test_an_incompatible_change_is_refused_with_its_field(
    tmp_path: Path, schema: dict[str, Any], says: str
) -> None:
    files, released = folder(tmp_path, schema)
    (fault, *_) = event_schemas.faults(files, released)
    assert fault.startswith(f"{TOPIC}.avsc: ")
    assert says in fault
    with pytest.raises(event_schemas.SchemaRefused, match=r"offer\.presented"):
        event_schemas.record(files, released)
    assert len(released.read_text().splitlines()) == 1


def test_a_released_event_may_not_vanish(tmp_path: Path) -> None:
    files, released = folder(tmp_path, OFFER)
    (files / f"{TOPIC}.avsc").unlink()
    assert event_schemas.faults(files, released) == [
        f"{TOPIC}.avsc is gone, but {TOPIC} was released: its readers need it"
    ]


def test_a_change_is_measured_against_the_last_release_not_the_first(tmp_path: Path) -> None:
    files, released = folder(tmp_path, with_field(name="fees_minor", type="long", default=0))
    event_schemas.record(files, released)
    again = with_field(name="fees_minor", type="string", default="")
    (files / f"{TOPIC}.avsc").write_text(json.dumps(again))
    (fault,) = event_schemas.faults(files, released)
    assert "reader type: string" in fault


def test_the_gate_fails_on_an_incompatible_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, released = folder(tmp_path, changed("term_months", type="string"))
    found = event_schemas.faults(files, released)
    monkeypatch.setattr(event_schemas, "faults", lambda: found)
    monkeypatch.setattr("sys.argv", ["event_schemas"])
    assert event_schemas.main() == 1
    assert "schemas/events/credit.offer.presented.v1.avsc" in capsys.readouterr().out
