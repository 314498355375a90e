"""The two event types as bytes: Confluent wire format, Avro, schemas from the registry.

The gateway writes one schema and reads one topic, so ids are asked for once and kept; afterwards
the registry may be down.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import asdict
from typing import Any

import fastavro
import httpx

from schemas import events, topics
from schemas.events import AuthorizationDecided, AuthorizationRequested

HEADER = struct.Struct(">BI")
REQUESTED = events.FOLDER / f"{topics.AUTHORIZATION_REQUESTED}.avsc"


class RegistryUnavailable(Exception):
    """The registry did not give what is needed."""


class Wire:
    """Encodes requests and decodes decisions."""

    def __init__(self, registry_url: str, client: httpx.AsyncClient) -> None:
        self._url = registry_url.rstrip("/")
        self._client = client
        self._schemas: dict[int, Any] = {}
        self._requested: tuple[int, Any] | None = None

    async def prepare(self) -> tuple[int, Any]:
        """Id and schema of requests; the same schema always gets the same id."""
        if self._requested is None:
            text = REQUESTED.read_text(encoding="utf-8")
            path = f"/subjects/{topics.AUTHORIZATION_REQUESTED}-value/versions"
            found = await self._ask("POST", path, {"schema": text, "schemaType": "AVRO"})
            self._requested = int(found["id"]), fastavro.parse_schema(json.loads(text))
        return self._requested

    async def encode(self, request: AuthorizationRequested) -> bytes:
        """A request as a message."""
        schema_id, schema = self._requested or await self.prepare()
        out = io.BytesIO()
        out.write(HEADER.pack(0, schema_id))
        fastavro.schemaless_writer(out, schema, asdict(request))
        return out.getvalue()

    async def decode(self, value: bytes) -> AuthorizationDecided:
        """The decision in a message; ValueError when it holds none."""
        try:
            magic, schema_id = HEADER.unpack_from(value)
        except struct.error as error:
            raise ValueError("too short for a message") from error
        if magic != 0:
            raise ValueError(f"first byte is {magic}")
        if schema_id not in self._schemas:
            found = await self._ask("GET", f"/schemas/ids/{schema_id}")
            self._schemas[schema_id] = fastavro.parse_schema(json.loads(found["schema"]))
        source = io.BytesIO(value[HEADER.size :])
        try:
            record = fastavro.schemaless_reader(source, self._schemas[schema_id], None)
            return AuthorizationDecided(**record)  # type: ignore[arg-type]
        except Exception as error:  # the decoder raises whatever the bytes made it stumble on
            raise ValueError(f"not a decision: {error!r}") from error

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, self._url + path, json=body)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RegistryUnavailable(f"registry: {error!r}") from error
        return found
