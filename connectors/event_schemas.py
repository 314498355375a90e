"""Event schemas change so that every reader of the new one can read what the old one wrote.

`python -m connectors.event_schemas` compares the files of schemas/events with released.jsonl,
which holds every schema that was ever released, one a line, and fails on what BACKWARD forbids;
`--record` adds what is new. `register` gives the schemas to the registry, which keeps the same
rule.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import avro.schema
import httpx
from avro.compatibility import ReaderWriterCompatibilityChecker

from schemas import events

RELEASED = events.FOLDER / "released.jsonl"
RULE = "BACKWARD"
AT_ONCE = 8


class SchemaRefused(RuntimeError):
    """The registry did not take a schema; the message gives its reason."""


@dataclass(frozen=True)
class Registered:
    """A schema as the registry knows it."""

    topic: str
    schema_id: int
    fingerprint: str


def register(registry_url: str, folder: Path = events.FOLDER) -> list[Registered]:
    """Register every event schema under `<topic>-value` with the rule; repeating changes nothing.

    Raises SchemaRefused when one cannot read what the registered one wrote.
    """
    files = sorted(folder.glob("*.avsc"))
    with (
        httpx.Client(base_url=registry_url, timeout=30) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        return list(pool.map(lambda file: _register(client, file), files))


def faults(folder: Path = events.FOLDER, released: Path = RELEASED) -> list[str]:
    """What readers of released events could no longer read, a sentence each; none is right."""
    last = _last_released(released)
    found = []
    for topic, old in last.items():
        file = folder / f"{topic}.avsc"
        if not file.is_file():
            found.append(f"{file.name} is gone, but {topic} was released: its readers need it")
            continue
        found += [f"{file.name}: {fault}" for fault in incompatible(old, _read(file))]
    return found


def unrecorded(folder: Path = events.FOLDER, released: Path = RELEASED) -> list[str]:
    """Topics whose schema differs from the last one released."""
    last = _last_released(released)
    return [
        file.stem for file in sorted(folder.glob("*.avsc")) if last.get(file.stem) != _read(file)
    ]


def record(folder: Path = events.FOLDER, released: Path = RELEASED) -> list[str]:
    """Append the schemas that are new or compatibly changed; the topics recorded."""
    if found := faults(folder, released):
        raise SchemaRefused("\n".join(found))
    topics = unrecorded(folder, released)
    with released.open("a", encoding="utf-8") as out:
        for topic in topics:
            line = {"topic": topic, "schema": _read(folder / f"{topic}.avsc")}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return topics


def incompatible(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why a reader with `new` could not read, or would misread, what `old` wrote."""
    reader, writer = (avro.schema.parse(json.dumps(schema)) for schema in (new, old))
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    checked = checker.get_compatibility(reader, writer)
    found = sorted(str(message) for message in checked.messages)
    # Avro reads the bytes of another unit, scale or zone without a word.
    meant = {field["name"]: _meaning(field["type"]) for field in old["fields"]}
    found += [
        f"{field['name']} was {meant[field['name']]} and would be read as {now}"
        for field in new["fields"]
        if field["name"] in meant and (now := _meaning(field["type"])) != meant[field["name"]]
    ]
    return found


def _meaning(kind: Any) -> str:
    """The logical types in a field's type; a plain one has none."""
    return ", ".join(_logical(kind)) or "plain"


def _logical(kind: Any) -> Iterator[str]:
    if isinstance(kind, list):
        for option in kind:
            yield from _logical(option)
    elif isinstance(kind, dict) and "logicalType" in kind:
        scale = f" of scale {kind['scale']}" if "scale" in kind else ""
        yield f"{kind['logicalType']}{scale}"


def _register(client: httpx.Client, file: Path) -> Registered:
    subject = f"{file.stem}-value"
    text = json.dumps(_read(file), separators=(",", ":"))
    answer = client.post(f"/subjects/{subject}/versions", json={"schema": text})
    if answer.is_success:
        schema_id = int(answer.json()["id"])
        # A rule belongs to a subject, so it comes after the first schema.
        answer = client.put(f"/config/{subject}", json={"compatibility": RULE})
    if not answer.is_success:
        raise SchemaRefused(
            f"the registry does not take {file.name} ({answer.status_code}): {answer.text[:1000]}"
        )
    return Registered(file.stem, schema_id, hashlib.sha256(text.encode()).hexdigest())


def _last_released(released: Path) -> dict[str, dict[str, Any]]:
    if not released.is_file():
        return {}
    lines = (json.loads(line) for line in released.read_text(encoding="utf-8").splitlines())
    return {line["topic"]: line["schema"] for line in lines}


def _read(file: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def main() -> int:
    """Check, or with --record release; the process's exit code."""
    if "--record" in sys.argv[1:]:
        print(f"recorded: {', '.join(record()) or 'nothing new'}")
        return 0
    for fault in (found := faults()):
        print(f"schemas/events/{fault}")
    if found:
        print("A released event changes compatibly: add fields with defaults, or make a version 2.")
        return 1
    if new := unrecorded():
        print(f"not released yet: {', '.join(new)} (python -m connectors.event_schemas --record)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
