"""Writer schemas by id from the registry (Confluent API): each id is asked for once a process."""

from __future__ import annotations

import json

import httpx

TIMEOUT_S = 10.0


class RegistryUnavailable(RuntimeError):
    """The registry does not answer. Nothing is wrong with the records: try again later."""


class WriterSchemas:
    """Schema id -> Avro schema (JSON text). Ids never change meaning, so answers are kept."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._known: dict[int, str] = {}

    def __call__(self, schema_id: int) -> str | None:
        """The schema, or None when the registry knows no such id."""
        if schema_id not in self._known:
            schema = self._fetch(schema_id)
            if schema is None:
                return None
            self._known[schema_id] = schema
        return self._known[schema_id]

    def _fetch(self, schema_id: int) -> str | None:
        try:
            answer = httpx.get(f"{self._url}/schemas/ids/{schema_id}", timeout=TIMEOUT_S)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            schema: str = answer.json()["schema"]
            json.loads(schema)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise RegistryUnavailable(
                f"schema registry {self._url} gave no schema {schema_id} ({error!s}); "
                "silver waits, nothing is lost: start the registry and run again"
            ) from error
        return schema
