"""What people decided about quarantined changes, and what builds made of it: one file a decision.

Kept in the lake beside the tables, because silver is a function of bronze and of these. Files are
numbered per entity and never changed; a number is taken by whoever makes its file first, so two
writers cannot both decide on the same standing. Pure apart from the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines import lake

HELD, FIXED, RELEASED, APPLIED = STATES = ("held", "fixed", "released", "applied")
BUILD = "build"
# Rule and message of each.
Reasons = tuple[tuple[str, str], ...]

# The same change is the same wherever it was delivered; what cannot be read is its place.
IDENTITY = (
    "substring(sha2(case when key is not null and lsn is not null then concat_ws('|', entity,"
    " hex(case when length(key) > 5 and substring(key, 1, 1) = X'00' then substring(key, 6)"
    " else key end), lsn, op) else concat_ws('|', topic, partition, offset) end, 256), 1, 32)"
)


class DecidedMeanwhile(RuntimeError):
    """Somebody decided about this entity since it was looked at: look again."""


@dataclass(frozen=True)
class Place:
    """Where a record was in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Row:
    """One change in a decision. `patch`: column -> text, as its type is written; None is null."""

    identity: str
    place: Place
    patch: Mapping[str, str | None] | None = None
    reasons: Reasons = ()


@dataclass(frozen=True)
class Decision:
    """From now on these changes stand so."""

    state: str
    rows: tuple[Row, ...]
    by: str
    why: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    number: int = 0


@dataclass(frozen=True)
class Standing:
    """How a change stands: the last decision about it."""

    state: str
    row: Row
    decision: Decision


def identity(entity: str, place: Place, key: bytes | None, op: str | None, lsn: int | None) -> str:
    """The name of a change: the same wherever it was delivered again. As IDENTITY says in SQL."""
    parts: tuple[object, ...] = (place.topic, place.partition, place.offset)
    if key is not None and lsn is not None:
        body = key[5:] if len(key) > 5 and key[0] == 0 else key
        parts = (entity, body.hex().upper(), lsn, *([op] if op is not None else []))
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]


def last(lake_folder: Path, entity: str) -> int:
    """The number of the last decision about an entity's changes; 0 when there is none."""
    return max(_numbers(lake_folder, entity), default=0)


def entities(lake_folder: Path) -> list[str]:
    """Those about whose changes anything was decided."""
    folder = lake.decisions(lake_folder)
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def all_of(lake_folder: Path, entity: str) -> list[Decision]:
    """Every decision about an entity's changes, oldest first."""
    folder = lake.decisions(lake_folder) / entity
    return [_read(folder / _name(n), n) for n in sorted(_numbers(lake_folder, entity))]


def standing(decided: Iterable[Decision]) -> dict[str, Standing]:
    """How each change stands of which anything was decided; all others are held."""
    found: dict[str, Standing] = {}
    for decision in decided:
        for row in decision.rows:
            found[row.identity] = Standing(decision.state, row, decision)
    return found


def pending(lake_folder: Path) -> dict[str, int]:
    """Entities with released changes that no build has taken yet, and how many."""
    found = {}
    for entity in entities(lake_folder):
        stand = standing(all_of(lake_folder, entity)).values()
        if waiting := sum(one.state == RELEASED for one in stand):
            found[entity] = waiting
    return found


def asked(lake_folder: Path) -> dict[str, int]:
    """The last decision to release anything, by entity: what a build is wanted for."""
    found = {}
    for entity in entities(lake_folder):
        numbers = [d.number for d in all_of(lake_folder, entity) if d.state == RELEASED]
        if numbers:
            found[entity] = max(numbers)
    return found


def decide(lake_folder: Path, entity: str, decision: Decision, after: int) -> int:
    """Keep a decision; `after` is the last one that was known. Durable when it returns."""
    folder = lake.decisions(lake_folder) / entity
    folder.mkdir(parents=True, exist_ok=True)
    number = after + 1
    # Written aside: what has its name is whole.
    handle, aside = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(_plain(decision), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        if last(lake_folder, entity) != after:
            raise FileExistsError
        os.link(aside, folder / _name(number))
    except FileExistsError:
        raise DecidedMeanwhile(
            f"somebody decided about quarantined {entity} at this moment; look again and repeat"
        ) from None
    finally:
        os.unlink(aside)
    _sync(folder)
    return number


def _numbers(lake_folder: Path, entity: str) -> list[int]:
    try:
        names = os.listdir(lake.decisions(lake_folder) / entity)
    except FileNotFoundError:
        return []
    return [int(name[:8]) for name in names if name[:8].isdigit() and name[8:] == ".json"]


def _name(number: int) -> str:
    return f"{number:08}.json"


def _plain(decision: Decision) -> dict[str, Any]:
    said = asdict(decision) | {"at": decision.at.isoformat()}
    said.pop("number")
    return said


def _read(path: Path, number: int) -> Decision:
    said = json.loads(path.read_text(encoding="utf-8"))
    rows = tuple(
        Row(
            row["identity"],
            Place(**row["place"]),
            row["patch"],
            tuple((rule, message) for rule, message in row["reasons"]),
        )
        for row in said["rows"]
    )
    at = datetime.fromisoformat(said["at"])
    return Decision(said["state"], rows, said["by"], said["why"], at, number)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def by_state(stand: Mapping[str, Standing], *states: str) -> Sequence[Row]:
    """The rows of those that stand so."""
    return [one.row for one in stand.values() if one.state in states]
