"""What a table's log says, read without Spark: live files, versions, and where the log is damaged.

Follows Delta's protocol: the newest checkpoint that can be read, then every commit after it. Cheap
enough to be asked for every table of the lake at once.
"""

from __future__ import annotations

import json
import os
import string
import zlib
from base64 import b85decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

NEVER = -1
DIGITS = 20
ASIDE = "aside"
CRC_HEADER = b"crc\x00"
# A deletion vector in a file below the table's folder, named by a UUID in the alphabet of ZeroMQ.
RELATIVE, UUID_CHARACTERS = "u", 20
_ALPHABET = string.digits + string.ascii_lowercase + string.ascii_uppercase
_FROM_Z85 = str.maketrans(
    f"{_ALPHABET}.-:+=^!/*?&<>()[]{{}}@%$#",
    f"{string.digits}{string.ascii_uppercase}{string.ascii_lowercase}!#$%&()*+-;<=>?@^_`{{|}}~",
)
REMEDY = "`millrace lake heal` makes the table whole"


class LogDamaged(RuntimeError):
    """A file of the log is missing or cannot be read; `file` is its path."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}. {REMEDY}")
        self.file, self.why = file, why


@dataclass(frozen=True)
class DataFile:
    """A file that the table is made of, as its log describes it."""

    path: str
    bytes: int
    partition: Mapping[str, str]
    statistics: Mapping[str, Any] = field(default_factory=dict)
    # The action that added it, word for word.
    added: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many of its rows are in the table."""
        return int(self.statistics.get("numRecords", 0)) - int(
            self._deleted.get("cardinality") or 0
        )

    @property
    def deletions(self) -> str | None:
        """The file beside it that says which of its rows are not; None when all are."""
        if self._deleted.get("storageType") != RELATIVE:
            return None
        place = str(self._deleted["pathOrInlineDv"])
        folder, number = place[:-UUID_CHARACTERS], place[-UUID_CHARACTERS:]
        name = f"deletion_vector_{UUID(bytes=b85decode(number.translate(_FROM_Z85)))}.bin"
        return f"{folder}/{name}" if folder else name

    @property
    def _deleted(self) -> Mapping[str, Any]:
        return self.added.get("deletionVector") or {}


@dataclass
class TableState:
    """A table as of its last commit."""

    version: int = NEVER
    oldest: int = NEVER
    committed_at: datetime | None = None
    files: dict[str, DataFile] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    partitioned_by: tuple[str, ...] = ()
    # As Spark writes a StructType.
    schema: str = ""
    # application -> how far it has come
    marks: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What the live files take."""
        return sum(file.bytes for file in self.files.values())

    @property
    def rows(self) -> int:
        """How many the live files hold."""
        return sum(file.rows for file in self.files.values())


def read(table: Path) -> TableState:
    """The state of `table`; an empty one when there is no table. Raises LogDamaged."""
    log = table / "_delta_log"
    names = sorted(os.listdir(log)) if log.is_dir() else []
    commits = sorted(int(n[:DIGITS]) for n in names if _is_commit(n))
    state = TableState()
    begun = _newest_checkpoint(log, names, state)
    after = [version for version in commits if version > begun]
    if not commits and begun == NEVER:
        return state
    last = after[-1] if after else begun
    for version in range(begun + 1, last + 1):
        place = log / f"{version:0{DIGITS}}.json"
        try:
            _apply(commit(place), state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogDamaged(place, f"an action cannot be read ({error})") from None
        state.version = version
    state.version = max(state.version, begun)
    state.oldest = commits[0] if commits else begun
    return state


def tables(lake: Path) -> list[Path]:
    """Every table below `lake`, in order of name; not what was put aside."""
    found = []
    for folder, folders, _ in os.walk(lake):
        if Path(folder) == lake and ASIDE in folders:
            folders.remove(ASIDE)
        if "_delta_log" in folders:
            found.append(Path(folder))
            folders.clear()
    return sorted(found)


def on_disk(table: Path) -> int:
    """What the table's folder takes, with files that only older versions need."""
    return sum(
        os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(table)
        for name in names
    )


def commit_files(table: Path) -> list[Path]:
    """The log's files that a reader of the last version needs: newest checkpoint, later commits."""
    log = table / "_delta_log"
    names = sorted(os.listdir(log)) if log.is_dir() else []
    begun = max(_checkpoints(names), default=NEVER)
    needed = [*_checkpoints(names).get(begun, ())]
    needed += [n for n in names if _is_commit(n) and int(n[:DIGITS]) > begun]
    return [log / name for name in needed]


def commit(place: Path) -> list[dict[str, Any]]:
    """The actions of one commit. Raises LogDamaged when it is missing or not as it was written."""
    try:
        data = place.read_bytes()
        actions: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines() if line]
    except FileNotFoundError:
        raise LogDamaged(place, "the commit is missing") from None
    except (OSError, ValueError) as error:
        raise LogDamaged(place, f"the commit cannot be read ({error})") from None
    if not actions:
        raise LogDamaged(place, "the commit is empty")
    wrong = first_wrong_byte(place, data)
    if wrong is not None:
        raise LogDamaged(place, f"differs from its checksum at byte {wrong:,}")
    return actions


def first_wrong_byte(file: Path, data: bytes) -> int | None:
    """Where the first block lies that does not fit the sums that Hadoop wrote beside the file.

    None when all do, or when there are none.
    """
    try:
        sums = file.with_name(f".{file.name}.crc").read_bytes()
    except FileNotFoundError:
        return None
    if sums[:4] != CRC_HEADER or len(sums) < 8:
        return 0
    block = int.from_bytes(sums[4:8], "big")
    view, count = memoryview(data), -(-len(data) // block)
    if len(sums) != 8 + 4 * count:
        return 0
    for number in range(count):
        start = number * block
        told = int.from_bytes(sums[8 + 4 * number : 12 + 4 * number], "big")
        if zlib.crc32(view[start : start + block]) != told:
            return start
    return None


def left_behind(table: Path, version: int) -> list[Path]:
    """Sums of commits after `version`, which is the last: those commits are lost.

    They would be taken for the sums of the next commit, which could then not be read.
    """
    log = table / "_delta_log"
    names = os.listdir(log) if log.is_dir() else []
    return sorted(
        log / name
        for name in names
        if (digits := name.removeprefix(".")[:DIGITS]).isdigit()
        and int(digits) > version
        and name.endswith(".crc")
    )


def _is_commit(name: str) -> bool:
    return name[:DIGITS].isdigit() and name[DIGITS:] == ".json"


def _checkpoints(names: Iterable[str]) -> dict[int, list[str]]:
    """Version -> the files of its checkpoint, those without all their parts left out."""
    found: dict[int, list[str]] = {}
    for name in names:
        if name[:DIGITS].isdigit() and ".checkpoint." in name and name.endswith(".parquet"):
            found.setdefault(int(name[:DIGITS]), []).append(name)
    return {
        version: parts
        for version, parts in found.items()
        if len(parts) == (int(parts[0].split(".")[3]) if parts[0].count(".") > 2 else 1)
    }


def _newest_checkpoint(log: Path, names: list[str], state: TableState) -> int:
    """Fill `state` from the newest checkpoint and give its version; NEVER when there is none."""
    from pyarrow import parquet

    found = _checkpoints(names)
    if not found:
        return NEVER
    version = max(found)
    for name in found[version]:
        try:
            file = parquet.ParquetFile(log / name, page_checksum_verification=True)
            wanted = [c for c in ("add", "metaData", "txn") if c in file.schema_arrow.names]
            rows = file.read(columns=wanted).to_pylist()
        except (OSError, ValueError) as error:
            raise LogDamaged(log / name, f"the checkpoint cannot be read ({error})") from None
        _apply(({k: v for k, v in row.items() if v is not None} for row in rows), state)
    return version


def _apply(actions: Iterable[Mapping[str, Any]], state: TableState) -> None:
    # A commit may remove a file and add it again in another shape.
    ordered = sorted(actions, key=lambda action: "remove" not in action)
    for action in ordered:
        if "remove" in action:
            state.files.pop(unquote(action["remove"]["path"]), None)
        elif "add" in action:
            file = _data_file(action["add"])
            state.files[file.path] = file
        elif "txn" in action:
            state.marks[action["txn"]["appId"]] = int(action["txn"]["version"])
        elif "metaData" in action:
            said = action["metaData"]
            state.properties = dict(said.get("configuration") or {})
            state.partitioned_by = tuple(said.get("partitionColumns") or ())
            state.schema = said.get("schemaString") or ""
        elif "commitInfo" in action:
            at = action["commitInfo"].get("timestamp")
            state.committed_at = datetime.fromtimestamp(at / 1000, UTC) if at else None


def _data_file(add: Mapping[str, Any]) -> DataFile:
    return DataFile(
        path=unquote(add["path"]),
        bytes=int(add["size"]),
        # A map is a list of pairs when Arrow reads it from a checkpoint.
        partition=dict(add["partitionValues"] or {}),
        statistics=json.loads(add.get("stats") or "{}"),
        added=add,
    )
