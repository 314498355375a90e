"""Is every file of the lake there and as it was written? Without Spark, every byte read once.

What is read: the log (each commit a reader needs, the totals it notes of itself), every live file
against the checksums that were written beside it, or its pages against their own; and of bronze,
that each place of a Kafka partition is there once, without a gap.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipelines import checkpoint, delta, delta_log, lake

Progress = Callable[[str], None]


class Kind(StrEnum):
    """What is damaged; how it is healed depends on it."""

    DATA = "data"
    LOG = "log"
    # The sums beside a file, while the file itself is whole.
    SUMS = "sums"
    # Places of a Kafka partition that bronze has not, or more than once.
    GAP = "gap"
    TWICE = "twice"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong: the table, the file, what, and what is known about it."""

    table: Path
    file: Path
    kind: Kind
    why: str
    entity: str | None = None
    # Of a gap: (topic, partition, first missing offset, the first one after it).
    places: tuple[tuple[str, int, int, int], ...] = ()


def check(folder: Path, progress: Progress = lambda table: None) -> list[Damage]:
    """Everything that is wrong in the lake."""
    found: list[Damage] = []
    for table in delta_log.tables(folder):
        progress(table.relative_to(folder).as_posix())
        found += damages(table)
    bronze = lake.bronze(folder)
    is_readable = not any(d.table == bronze and d.kind in (Kind.LOG, Kind.DATA) for d in found)
    if is_readable and (bronze / "_delta_log").is_dir():
        found += places(bronze, checkpoint.given_up(folder))
    if not any(d.table == bronze and d.kind == Kind.LOG for d in found):
        found += _checkpoint(folder, bronze)
    return found


def damages(table: Path) -> Iterator[Damage]:
    """What is wrong with the files of one table."""
    is_whole = True
    for file in delta_log.commit_files(table):
        why = file_fault(file)
        if why:
            is_whole = False
            yield Damage(table, file, Kind.LOG, why)
    if not is_whole:
        return
    try:
        state = delta_log.read(table)
    except delta_log.LogDamaged as error:
        yield Damage(table, error.file, Kind.LOG, error.why)
        return
    for sums in delta_log.left_behind(table, state.version):
        commit = sums.with_name(f"{sums.name.removeprefix('.')[: delta_log.DIGITS]}.json")
        yield Damage(table, commit, Kind.LOG, f"the commit is missing, but not {sums.name}")
    yield from _totals(table, state)
    for name, described in state.files.items():
        file = table / name
        why = file_fault(file, described.bytes)
        if why:
            kind = Kind.SUMS if file.exists() and _is_whole_parquet(file) else Kind.DATA
            # A file of another size is not the one that the log means, whole or not.
            kind = Kind.DATA if why.startswith("is ") else kind
            yield Damage(table, file, kind, why, described.partition.get("entity"))
    for deletions in sorted({f.deletions for f in state.files.values() if f.deletions}):
        why = file_fault(table / deletions)
        if why:
            yield Damage(table, table / deletions, Kind.DATA, why)


def file_fault(file: Path, size: int | None = None) -> str | None:
    """What is wrong with a file; None when every byte is as it was written."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"is unreadable ({error.strerror})"
    if size is not None and len(data) != size:
        return f"is {len(data):,} bytes long, not {size:,}"
    if not file.with_name(f".{file.name}.crc").exists():
        whole = file.suffix != ".parquet" or _is_whole_parquet(file)
        return None if whole else "its pages do not fit their checksums"
    wrong = delta_log.first_wrong_byte(file, data)
    return None if wrong is None else f"differs from its checksum at byte {wrong:,}"


def places(bronze: Path, given_up: Sequence[checkpoint.Lost] = ()) -> Iterator[Damage]:
    """Gaps and repeats in bronze's Kafka partitions, an entity at a time."""
    known = set(given_up)
    by_entity: dict[str, list[Path]] = {}
    for name, file in delta_log.read(bronze).files.items():
        by_entity.setdefault(file.partition["entity"], []).append(bronze / name)
    for entity, files in sorted(by_entity.items()):
        gaps, repeats = [], 0
        for (topic, partition), offsets in offsets_of(files).items():
            offsets.sort()
            before = None
            for offset in offsets:
                gap = (topic, partition, (before or 0) + 1, offset)
                if before is not None and offset > before + 1 and gap not in known:
                    gaps.append(gap)
                repeats += offset == before
                before = offset
        where = bronze / f"entity={entity}"
        if gaps:
            missing = sum(end - start for _, _, start, end in gaps)
            topic, partition, start, end = gaps[0]
            why = f"{missing:,} offsets missing, first {topic} {partition}@{start}..{end - 1}"
            yield Damage(bronze, where, Kind.GAP, why, entity, tuple(gaps))
        if repeats:
            why = f"{repeats:,} records more than once"
            yield Damage(bronze, where, Kind.TWICE, why, entity)


def offsets_of(files: list[Path]) -> dict[tuple[str, int], list[int]]:
    """(topic, partition) -> the offsets in these files, as they come."""
    from pyarrow import parquet

    found: dict[tuple[str, int], list[int]] = {}
    for file in files:
        rows = parquet.ParquetFile(file).read(columns=["topic", "partition", "offset"])
        columns: Any = (rows.column(name).to_pylist() for name in rows.column_names)
        for topic, partition, offset in zip(*columns, strict=True):
            found.setdefault((topic, partition), []).append(offset)
    return found


def _checkpoint(folder: Path, bronze: Path) -> Iterator[Damage]:
    place = lake.bronze_checkpoint(folder)
    if not (bronze / "_delta_log").is_dir() and not place.exists():
        return
    try:
        name = checkpoint.source(folder)
        last = delta_log.read(bronze).marks.get(name, delta_log.NEVER)
        checkpoint.require(folder, last, delta.note_of(bronze, name))
    except checkpoint.CheckpointUnfit as error:
        yield Damage(bronze, place, Kind.CHECKPOINT, str(error))


def _totals(table: Path, state: delta_log.TableState) -> Iterator[Damage]:
    """What the log notes of itself at its last commit, against what it adds up to."""
    noted = table / "_delta_log" / f"{state.version:020}.crc"
    if not noted.exists():
        return
    try:
        said = json.loads(noted.read_text(encoding="utf-8"))
        told = (said["numFiles"], said["tableSizeBytes"])
    except (OSError, ValueError, KeyError) as error:
        yield Damage(table, noted, Kind.SUMS, f"cannot be read ({error})")
        return
    if told != (len(state.files), state.bytes):
        why = f"the log has {len(state.files)} files, {state.bytes:,} bytes; it noted {told}"
        yield Damage(table, noted, Kind.LOG, why)


def _is_whole_parquet(file: Path) -> bool:
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file, page_checksum_verification=True)
        for group in range(opened.num_row_groups):
            opened.read_row_group(group)
    except (OSError, ValueError):
        return False
    return os.path.getsize(file) > 0
