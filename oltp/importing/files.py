"""Reads delimited files line by line; what cannot be read is reported with file, line and column.

A row is a line: a quote that is never closed loses its own row, not the rest of the file.
"""

from __future__ import annotations

import csv
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oltp.importing.errors import FileError
from oltp.importing.mapping import Source
from oltp.importing.rejection import Rejection, masked

Row = dict[str, Any]
LINE, FILE, SHA, NTH = "_line", "_file", "_sha256", "_nth"
MAX_LINE = 1_000_000
MAX_UNPACKED = 2 * 1024**3
OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}
BOM = b"\xef\xbb\xbf"
# What old systems write after the last row.
END_OF_FILE = b"\x1a"


@dataclass(frozen=True)
class Content:
    """A file's bytes, unpacked, with the digest of what was given."""

    name: str
    text: bytes
    sha256: str


@dataclass
class Found:
    """A file's good rows, its bad ones, and how many there were."""

    rows: list[Row]
    rejections: list[Rejection]
    read: int


def locate(source: Source, places: list[Path], is_only: bool) -> list[Path]:
    """The files of one source among what was named: folders and files, packed or not."""
    named = [place for place in places if not place.is_dir()]
    for path in named:
        if not path.exists():
            raise FileError(f"{path} is not there")
    found = [path for path in named if is_only or _matches(path, source.pattern)]
    for folder in (place for place in places if place.is_dir()):
        found += [path for path in sorted(folder.iterdir())
                  if path.is_file() and _matches(path, source.pattern)]  # fmt: skip
    names = [path.name.removesuffix(".gz") for path in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise FileError(f"{', '.join(sorted(twice))} is there twice: name one of them")
    if not found and not source.is_optional:
        raise FileError(f"{source.pattern} is not in {', '.join(map(str, places))}")
    return found


def _matches(path: Path, pattern: str) -> bool:
    return Path(path.name.removesuffix(".gz")).match(pattern)


def content(path: Path) -> Content:
    """Read a file; FileError when it is empty, or of another kind."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(raw).hexdigest()
    text = _unpacked(path, raw) if raw.startswith(b"\x1f\x8b") else raw
    for mark, kind in OTHER_KINDS.items():
        if text.startswith(mark):
            raise FileError(f"{path} is {kind}")
    if not text.strip():
        raise FileError(f"{path} is empty")
    return Content(path.name.removesuffix(".gz"), text, digest)


def _unpacked(path: Path, raw: bytes) -> bytes:
    """What can be unpacked: of a file that was cut, all but its end."""
    parts, left = [], MAX_UNPACKED
    try:
        while raw:
            unpacker = zlib.decompressobj(31)
            parts.append(unpacker.decompress(raw, left))
            left -= len(parts[-1])
            if unpacker.unconsumed_tail or left <= 0:
                raise FileError(f"{path} unpacks to more than {MAX_UNPACKED:,} bytes")
            if not unpacker.eof:
                break
            raw = unpacker.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise FileError(f"{path} is a damaged gzip file: {error}") from None
    return b"".join(parts)


def read(source: Source, found: Content) -> Found:
    """The file's rows. FileError when its header is not the one declared."""
    text = found.text.removeprefix(BOM)
    ends_whole = text.endswith((b"\n", END_OF_FILE))
    lines = text.split(b"\n")
    while lines and not lines[-1].strip(b"\r\x1a \t"):
        lines.pop()
    reader = _Reader(source, found, None if ends_whole else len(lines))
    begin = reader.header(lines[0]) if source.has_header else 0
    out = Found([], [], 0)
    for number, line in enumerate(lines[begin:], start=begin + 1):
        if not line.strip():
            continue
        out.read += 1
        row = reader.row(number, line.removesuffix(b"\r"))
        if isinstance(row, Rejection):
            out.rejections.append(row)
        else:
            out.rows.append(row)
    return out


class _Reader:
    """One file's way from a line to a row."""

    def __init__(self, source: Source, found: Content, last: int | None) -> None:
        self.source, self.file, self.sha, self.last = source, found.name, found.sha256, last
        self.names = list(source.columns)
        self._defaults = {
            name: column.default for name, column in source.columns.items() if column.is_optional
        }

    def header(self, line: bytes) -> int:
        try:
            fields = [f.strip() for f in self._fields(line.rstrip(b"\r").decode(self._encoding))]
        except (UnicodeDecodeError, csv.Error):
            raise FileError(f"{self.file}:1: the header is not {self._encoding} text") from None
        twice = sorted({name for name in fields if fields.count(name) > 1})
        if twice:
            raise FileError(f"{self.file}:1: the header names {', '.join(twice)} twice")
        wanted = [n for n, column in self.source.columns.items() if not column.is_optional]
        missing = [name for name in wanted if name not in fields]
        extra = [name for name in fields if name not in self.source.columns]
        if missing or (extra and not self.source.ignores_others):
            said = "; ".join(f"{what} {', '.join(names)}" for what, names in
                             (("missing", missing), ("not known", extra)) if names)  # fmt: skip
            declared = ", ".join(self.source.columns)
            raise FileError(f"{self.file}:1: expected the columns {declared} ({said})")
        self.names = fields
        return 1

    def row(self, number: int, line: bytes) -> Row | Rejection:
        if len(line) > MAX_LINE:
            return self._reject(number, "", "length", f"the row has {len(line):,} bytes", line)
        if b"\0" in line:
            return self._reject(number, "", "nul", "the row has NUL bytes", line)
        try:
            text = line.decode(self._encoding)
        except UnicodeDecodeError as error:
            reason = f"the row is not {self._encoding} text at byte {error.start + 1}"
            return self._reject(number, "", "encoding", reason, line)
        is_closed = True
        try:
            fields = self._fields(text, strict=True)
        except csv.Error:
            is_closed, fields = False, self._fields(text)
        if len(fields) != len(self.names):
            return self._miscounted(number, fields, line)
        if not is_closed:
            return self._reject(number, self.names[-1], "quote", "a quote is not closed", line)
        return self._converted(number, fields, line)

    def _miscounted(self, number: int, fields: list[str], line: bytes) -> Rejection:
        column = self.names[min(len(fields), len(self.names)) - 1]
        reason = f"the row has {len(fields)} of {len(self.names)} columns"
        is_cut = number == self.last and len(fields) < len(self.names)
        if is_cut:
            reason += ": the file ends within it"
        return self._reject(number, column, "cut" if is_cut else "columns", reason, line)

    def _converted(self, number: int, fields: list[str], line: bytes) -> Row | Rejection:
        row: Row = {LINE: number, FILE: self.file, SHA: self.sha, "_original": line}
        row.update(self._defaults)
        given = dict(zip(self.names, fields, strict=True))
        nulls = self.source.nulls
        if number == self.last and any(
            null.startswith(fields[-1].strip()) and null != fields[-1].strip() != ""
            for null in nulls
        ):
            reason = "the file ends within the row"
            return self._reject(number, self.names[-1], "cut", reason, line, fields[-1])
        for name, column in self.source.columns.items():
            text = given.get(name)
            if text is None:
                continue
            if text.strip() in nulls:
                if column.is_required:
                    return self._reject(number, name, "required", "has no value", line, text)
                row[name] = column.default
                continue
            try:
                row[name] = column.convert(text, row)
            except ValueError as error:
                return self._reject(number, name, column.type, str(error), line, text)
        return row

    def _reject(self, number: int, column: str, rule: str, reason: str, line: bytes,
                value: str | None = None) -> Rejection:  # fmt: skip
        source = self.source
        if value is not None:
            value = masked(value) if column in source.personal else value[:200]
        original = None if source.personal else line[:100_000]
        return Rejection(self.file, number, column or "-", rule, reason, value, None, original)

    def _fields(self, line: str, strict: bool = False) -> list[str]:
        source = self.source
        parsed: Iterator[list[str]] = csv.reader(
            [line], delimiter=source.delimiter, quotechar=source.quote or None,
            quoting=csv.QUOTE_MINIMAL if source.quote else csv.QUOTE_NONE, strict=strict,
        )  # fmt: skip
        return next(parsed, [])

    @property
    def _encoding(self) -> str:
        return self.source.encoding


def plain(text: str) -> str:
    """Text for a terminal: control characters are shown, never obeyed."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]",
                  lambda found: f"\\x{ord(found[0]):02x}", text)  # fmt: skip
