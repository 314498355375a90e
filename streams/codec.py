"""Confluent wire format with Avro: 0x00, a 4-byte schema id, one Avro datum and nothing after it.

Decoding and encoding never wait: a schema that is not known yet raises SchemaNeeded, is fetched
once by its id and kept. Bytes that are not exactly a message raise Undecodable with a reason; a
registry that cannot answer raises RegistryDown: an outage, not the message's fault. Decoding
never returns a partly filled record.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import fastavro
import httpx

MAGIC = 0
HEADER = struct.Struct(">BI")
# The broker refuses larger ones by default; one that slips through is not parsed.
LARGEST_BYTES = 1024 * 1024


class Undecodable(Exception):
    """A message that no retry can make readable. `reason` is stable, the text is for people."""

    def __init__(self, reason: str, text: str, schema_id: int | None = None) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.schema_id = schema_id


class SchemaNeeded(Exception):
    """A message under a schema that has not been fetched: `await codec.fetch(schema_id)` first."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} has not been fetched")
        self.schema_id = schema_id


class RegistryDown(OSError):
    """The registry does not answer as it should; wait and ask again."""


class Codec:
    """Decodes and encodes with the registry's schemas; one per process."""

    def __init__(self, registry_url: str, client: httpx.AsyncClient) -> None:
        self._url = registry_url.rstrip("/")
        self._client = client
        self._by_id: dict[int, Any] = {}
        self._by_topic: dict[str, tuple[bytes, Any]] = {}

    def decode(self, value: bytes, record_name: str) -> dict[str, Any]:
        """The record in `value`, which must be a `record_name`; any other type is refused."""
        schema_id, payload = split(value)
        schema = self._by_id.get(schema_id)
        if schema is None:
            raise SchemaNeeded(schema_id)
        if schema["name"] != record_name:
            raise Undecodable(
                "unexpected_schema",
                f"schema {schema_id} is {schema['name']}, not {record_name}",
                schema_id,
            )
        return datum(payload, schema, schema_id)

    def encode(self, topic: str, record: Mapping[str, Any]) -> bytes:
        """`record` as a message for `topic`, which has been prepared."""
        head, schema = self._by_topic[topic]
        out = io.BytesIO()
        out.write(head)
        fastavro.schemaless_writer(out, schema, record)
        return out.getvalue()

    async def fetch(self, schema_id: int) -> None:
        """Learn a schema by its id; one that cannot be used is the message's fault."""
        answer = await self._ask("GET", f"/schemas/ids/{schema_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Undecodable("unknown_schema", f"no schema has id {schema_id}", schema_id)
        try:
            schema = fastavro.parse_schema(json.loads(_body(answer)["schema"]))
        except (ValueError, KeyError, TypeError, fastavro.schema.SchemaParseException) as error:
            raise Undecodable(
                "unusable_schema", f"schema {schema_id}: {error!r}", schema_id
            ) from error
        if not isinstance(schema, dict) or "name" not in schema:
            raise Undecodable("unusable_schema", f"schema {schema_id} is no record", schema_id)
        self._by_id[schema_id] = schema

    async def prepare(self, topic: str, schema_file: Path) -> None:
        """Learn what is needed for writing to `topic`; the same schema always gets the same id."""
        if topic in self._by_topic:
            return
        text = schema_file.read_text(encoding="utf-8")
        answer = await self._ask(
            "POST", f"/subjects/{topic}-value/versions", {"schema": text, "schemaType": "AVRO"}
        )
        if answer.status_code == httpx.codes.CONFLICT:
            raise RegistryDown(f"{schema_file.name} is refused as incompatible: {answer.text}")
        head = HEADER.pack(MAGIC, int(_body(answer)["id"]))
        self._by_topic[topic] = (head, fastavro.parse_schema(json.loads(text)))

    async def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return await self._client.request(method, self._url + path, json=body)
        except httpx.HTTPError as error:
            raise RegistryDown(f"registry {self._url}: {error!r}") from error


def split(value: bytes) -> tuple[int, bytes]:
    """Schema id and Avro bytes of a message in wire format."""
    if len(value) > LARGEST_BYTES:
        raise Undecodable("oversize", f"{len(value)} bytes; at most {LARGEST_BYTES} are read")
    if len(value) <= HEADER.size:
        raise Undecodable("wire_format", f"{len(value)} bytes are too few for a message")
    magic, schema_id = HEADER.unpack_from(value)
    if magic != MAGIC:
        raise Undecodable("wire_format", f"first byte is {magic:#04x}, not 0x00")
    return schema_id, value[HEADER.size :]


def datum(payload: bytes, schema: Any, schema_id: int | None = None) -> dict[str, Any]:
    """The one record that `payload` holds; a byte too few or too many is an error."""
    source = io.BytesIO(payload)
    try:
        record = fastavro.schemaless_reader(source, schema, None)
    except Exception as error:  # the decoder raises whatever the bytes made it stumble on
        raise Undecodable("avro", f"{type(error).__name__}: {error}", schema_id) from error
    if left := len(payload) - source.tell():
        raise Undecodable("trailing_bytes", f"{left} bytes follow the record", schema_id)
    return cast(dict[str, Any], record)


def _body(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise RegistryDown(f"registry answered {answer.status_code}: {answer.text[:200]}")
    try:
        return cast(dict[str, Any], answer.json())
    except ValueError as error:
        raise RegistryDown(f"registry answered no JSON: {answer.text[:200]}") from error
