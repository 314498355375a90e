"""The two event types as bytes: Confluent wire format, Avro, schemas from the registry.

The gateway writes one schema and reads one topic, so ids are asked for once and kept; afterwards
the registry may be down. Every gateway hears every decision and most are somebody else's: whose a
message is can be told from its first bytes, without decoding it.
"""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import fastavro
import httpx

from schemas import events, topics
from schemas.events import AuthorizationDecided, AuthorizationRequested

HEADER = struct.Struct(">BI")
REQUESTED = events.FOLDER / f"{topics.AUTHORIZATION_REQUESTED}.avsc"
FIRST_FIELD = "request_id"


class RegistryUnavailable(Exception):
    """The registry did not give what is needed."""


class Wire:
    """Encodes requests and decodes decisions."""

    def __init__(self, registry_url: str, client: httpx.AsyncClient) -> None:
        self._url = registry_url.rstrip("/")
        self._client = client
        self._schemas: dict[int, Any] = {}
        self._requested: tuple[int, Any] | None = None

    async def prepare(self) -> None:
        """Ask for the id of requests; the same schema always gets the same id."""
        if self._requested is None:
            text = REQUESTED.read_text(encoding="utf-8")
            path = f"/subjects/{topics.AUTHORIZATION_REQUESTED}-value/versions"
            found = await self._ask("POST", path, {"schema": text, "schemaType": "AVRO"})
            self._requested = int(found["id"]), fastavro.parse_schema(json.loads(text))

    async def encode(self, request: AuthorizationRequested) -> bytes:
        """A request as a message."""
        if self._requested is None:
            await self.prepare()
        if self._requested is None:
            raise RegistryUnavailable("the registry gave no id")
        schema_id, schema = self._requested
        out = io.BytesIO()
        out.write(HEADER.pack(0, schema_id))
        fastavro.schemaless_writer(out, schema, vars(request))
        return out.getvalue()

    async def learn(self, value: bytes) -> None:
        """Ask for the schema of a message if it is new to us; ValueError when it names none."""
        schema_id = _schema_id(value)
        if schema_id not in self._schemas:
            found = await self._ask("GET", f"/schemas/ids/{schema_id}")
            self._schemas[schema_id] = fastavro.parse_schema(json.loads(found["schema"]))

    def is_known(self, value: bytes) -> bool:
        """Whether the message can be read without asking the registry."""
        return len(value) >= HEADER.size and HEADER.unpack_from(value)[1] in self._schemas

    def decode(self, value: bytes) -> AuthorizationDecided:
        """The decision in a message of a known schema; ValueError when it holds none."""
        source = io.BytesIO(value[HEADER.size :])
        try:
            record = fastavro.schemaless_reader(source, self._schemas[_schema_id(value)], None)
            return AuthorizationDecided(**record)  # type: ignore[arg-type]
        except Exception as error:  # the decoder raises whatever the bytes made it stumble on
            raise ValueError(f"not a decision: {error!r}") from error

    def request_id(self, value: bytes) -> str | None:
        """Whose decision it is, from the first field alone; none when that cannot be told so."""
        schema = self._schemas[_schema_id(value)]
        fields = schema.get("fields") if isinstance(schema, dict) else None
        if not fields or (fields[0]["name"], fields[0]["type"]) != (FIRST_FIELD, "string"):
            return None
        length, at, shift = 0, HEADER.size, 0
        while at < len(value):
            byte = value[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                length >>= 1  # zigzag: lengths are never negative
                return value[at : at + length].decode("utf-8", "replace")
        return None

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, self._url + path, json=body)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RegistryUnavailable(f"registry: {error!r}") from error
        return found


def _schema_id(value: bytes) -> int:
    try:
        magic, schema_id = HEADER.unpack_from(value)
    except struct.error as error:
        raise ValueError("too short for a message") from error
    if magic != 0:
        raise ValueError(f"first byte is {magic}")
    return int(schema_id)
