"""Postgres' own replication messages (pgoutput, protocol 1), parsed without Debezium. Pure.

This is the witness' reading of the log, so it shares nothing with what it checks: bytes in, one
object a message out. A message that is not understood is an error, never skipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipelines.certificate.canonical import UNCHANGED, Unchanged

PROTOCOL = "1"

Field = str | Unchanged | None
Fields = tuple[Field, ...]


class PgoutputError(ValueError):
    """Bytes that are no message of this protocol."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction starts; `final_lsn` is where its commit record is."""

    final_lsn: int
    committed_at_us: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """It ends: position of the commit record, and of what follows it."""

    lsn: int
    end_lsn: int
    committed_at_us: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """One column: part of the replica identity or not, type and modifier as in pg_attribute."""

    name: str
    is_identity: bool
    type_oid: int
    modifier: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it is from here on; sent before its first row and after each change of it."""

    oid: int
    schema: str
    table: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]

    @property
    def name(self) -> str:
        """The table with its schema, as a contract's `source`."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row."""

    relation: Relation
    new: Fields


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row. `old` is the key (`K`), when that changed, or the whole row (`O`)."""

    relation: Relation
    old_kind: str | None
    old: Fields
    new: Fields


@dataclass(frozen=True, slots=True)
class Delete:
    """A removed row: its key (`K`), others null, or the whole row (`O`)."""

    relation: Relation
    old_kind: str
    old: Fields


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables emptied by one command."""

    relations: tuple[Relation, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class Aside:
    """What carries no row: a type (`Y`), an origin (`O`), a message of an application (`M`)."""

    kind: str
    text: str


Message = Begin | Commit | Relation | Insert | Update | Delete | Truncate | Aside


class Parser:
    """One decoding session: remembers the relations it was told of."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}

    def read(self, data: bytes) -> Message:
        """The message in these bytes, all of them."""
        try:
            cursor = _Cursor(data)
            message = self._message(cursor.letter(), cursor)
        except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
            if isinstance(error, PgoutputError):
                raise
            raise PgoutputError(f"message cut short or broken: {data[:32]!r} ({error})") from error
        if cursor.place != len(data):
            raise PgoutputError(f"{len(data) - cursor.place} bytes too many: {data[:32]!r}")
        return message

    def _message(self, kind: str, cursor: _Cursor) -> Message:
        of_rows = {
            "R": self._relation,
            "I": self._insert,
            "U": self._update,
            "D": self._delete,
            "T": self._truncate,
        }
        if kind in of_rows:
            return of_rows[kind](cursor)
        if kind == "B":
            return Begin(*cursor.take(_BEGIN))
        if kind == "C":
            _, *facts = cursor.take(_COMMIT)
            return Commit(*facts)
        return _aside(kind, cursor)

    def _relation(self, cursor: _Cursor) -> Message:
        relation = _relation(cursor)
        self._relations[relation.oid] = relation
        return relation

    def _insert(self, cursor: _Cursor) -> Message:
        relation = self._known(cursor)
        return Insert(relation, _new(cursor, relation))

    def _delete(self, cursor: _Cursor) -> Message:
        relation = self._known(cursor)
        old_kind = _expect(cursor, "KO")
        return Delete(relation, old_kind, _fields(cursor, relation))

    def _update(self, cursor: _Cursor) -> Message:
        relation = self._known(cursor)
        old_kind: str | None = None
        old: Fields = ()
        if cursor.peek() in "KO":
            old_kind = cursor.letter()
            old = _fields(cursor, relation)
        return Update(relation, old_kind, old, _new(cursor, relation))

    def _truncate(self, cursor: _Cursor) -> Message:
        count, options = cursor.take(_TRUNCATE)
        relations = tuple(self._known(cursor) for _ in range(count))
        return Truncate(relations, bool(options & 1), bool(options & 2))

    def _known(self, cursor: _Cursor) -> Relation:
        (oid,) = cursor.take(_INT32)
        if oid not in self._relations:
            raise PgoutputError(f"a row of relation {oid}, which was not described before")
        return self._relations[oid]


_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">BQQq")
_TRUNCATE = struct.Struct(">IB")
_COLUMN = struct.Struct(">Ii")
_LOGICAL = struct.Struct(">BQ")
_INT32 = struct.Struct(">I")
_INT16 = struct.Struct(">H")
_TEXT, _NULL, _UNCHANGED = b"tnu"


class _Cursor:
    """A place in a message."""

    __slots__ = ("data", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, shape: struct.Struct) -> tuple[int, ...]:
        values = shape.unpack_from(self.data, self.place)
        self.place += shape.size
        return values

    def peek(self) -> str:
        return chr(self.data[self.place])

    def letter(self) -> str:
        self.place += 1
        return chr(self.data[self.place - 1])

    def text(self) -> str:
        """A string that ends with a zero byte."""
        end = self.data.index(b"\0", self.place)
        text = self.data[self.place : end].decode()
        self.place = end + 1
        return text

    def counted(self) -> bytes:
        """Bytes with their length before them."""
        (length,) = self.take(_INT32)
        end = self.place + length
        if end > len(self.data):
            raise PgoutputError(f"{length} bytes announced, {len(self.data) - self.place} there")
        part = self.data[self.place : end]
        self.place = end
        return part


def _relation(cursor: _Cursor) -> Relation:
    (oid,) = cursor.take(_INT32)
    schema, table, identity = cursor.text(), cursor.text(), cursor.letter()
    (count,) = cursor.take(_INT16)
    columns = []
    for _ in range(count):
        flags = ord(cursor.letter())
        name = cursor.text()
        columns.append(RelationColumn(name, bool(flags & 1), *cursor.take(_COLUMN)))
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _new(cursor: _Cursor, relation: Relation) -> Fields:
    _expect(cursor, "N")
    return _fields(cursor, relation)


def _expect(cursor: _Cursor, kinds: str) -> str:
    kind = cursor.letter()
    if kind not in kinds:
        raise PgoutputError(f"tuple of kind {kind!r}, not {' or '.join(kinds)}")
    return kind


def _fields(cursor: _Cursor, relation: Relation) -> Fields:
    (count,) = cursor.take(_INT16)
    if count != len(relation.columns):
        raise PgoutputError(f"{relation.name} has {len(relation.columns)} columns, a row {count}")
    # Most of the work of a window is here, so the loop calls nothing of its own.
    data, place = cursor.data, cursor.place
    fields: list[Field] = []
    for _ in range(count):
        kind = data[place]
        place += 1
        if kind == _TEXT:
            start = place + 4
            place = start + int.from_bytes(data[place:start])
            fields.append(data[start:place].decode())
        elif kind == _NULL:
            fields.append(None)
        elif kind == _UNCHANGED:
            fields.append(UNCHANGED)
        else:
            raise PgoutputError(f"field of kind {chr(kind)!r}; binary was not asked for")
    if place > len(data):
        raise PgoutputError(f"{place - len(data)} bytes of the last field are missing")
    cursor.place = place
    return tuple(fields)


def _aside(kind: str, cursor: _Cursor) -> Aside:
    match kind:
        case "Y":
            cursor.take(_INT32)
            schema, name = cursor.text(), cursor.text()
            return Aside(kind, f"{schema or 'pg_catalog'}.{name}")
        case "O":
            cursor.place += 8
            return Aside(kind, cursor.text())
        case "M":
            cursor.take(_LOGICAL)
            prefix = cursor.text()
            cursor.counted()
            return Aside(kind, prefix)
        case _:
            raise PgoutputError(f"message of kind {kind!r}; protocol {PROTOCOL} has none")
