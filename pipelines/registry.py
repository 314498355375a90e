"""Writer schemas from the registry (Confluent API), by id and by what was written before them.

What the registry has said is kept for the process: neither an id nor a version changes its meaning.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

TIMEOUT_S = 10.0


class RegistryUnavailable(RuntimeError):
    """The registry does not answer. Nothing is wrong with the records: try again later."""


class WriterSchemas:
    """Schema id -> Avro schema (JSON text). Ids never change meaning, so answers are kept."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._known: dict[int, str] = {}
        self._before: dict[tuple[str, int], tuple[str, ...]] = {}

    def __call__(self, schema_id: int) -> str | None:
        """The schema, or None when the registry knows no such id."""
        if schema_id not in self._known:
            found = self._ask(f"schemas/ids/{schema_id}")
            if found is None:
                return None
            self._known[schema_id] = self._schema(found)
        return self._known[schema_id]

    def before(self, topic: str, schema_id: int) -> tuple[str, ...]:
        """The schemas that values of the topic were written with before this one, oldest first."""
        if (topic, schema_id) not in self._before:
            self._before[topic, schema_id] = tuple(self._earlier(f"{topic}-value", schema_id))
        return self._before[topic, schema_id]

    def _earlier(self, subject: str, schema_id: int) -> list[str]:
        earlier: list[tuple[int, str]] = []
        for version in self._ask(f"subjects/{subject}/versions") or ():
            found = self._ask(f"subjects/{subject}/versions/{version}")
            if found is None:
                continue
            if found["id"] == schema_id:
                return [schema for _, schema in earlier]
            earlier.append((found["id"], self._schema(found)))
        # Registered under another subject: ids rise with time all the same.
        return [schema for known_id, schema in earlier if known_id < schema_id]

    def _schema(self, answer: Any) -> str:
        schema: str = answer["schema"]
        try:
            json.loads(schema)
        except ValueError as error:
            raise RegistryUnavailable(f"schema registry {self._url} gave no JSON") from error
        return schema

    def _ask(self, path: str) -> Any:
        """What the registry says, or None when it knows no such thing."""
        try:
            answer = httpx.get(f"{self._url}/{path}", timeout=TIMEOUT_S)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RegistryUnavailable(
                f"schema registry {self._url} did not answer {path} ({error!s}); "
                "silver waits, nothing is lost: start the registry and run again"
            ) from error
