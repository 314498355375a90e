"""Keeps the rows whose keys are their own and whose references lead somewhere; rejects the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from oltp.importing.files import FILE, LINE, NTH
from oltp.importing.mapping import Mapping_, Row, Source, World, holds
from oltp.importing.rejection import Rejection, masked

Rows = dict[str, list[Row]]


def key_of(source: Source, row: Row) -> Any:
    """The row's key: a value, or a tuple of them."""
    values = tuple(row[part] for part in source.key)
    return values[0] if len(values) == 1 else values


def number(rows: Iterable[Row], source: Source) -> None:
    """`_nth` counts rows of the same key: two equal purchases in one second are two."""
    if NTH not in source.key:
        for row in rows:
            row[NTH] = 1
        return
    seen: dict[Any, int] = defaultdict(int)
    parts = [part for part in source.key if part != NTH]
    for row in rows:
        same = tuple(row[part] for part in parts)
        seen[same] += 1
        row[NTH] = seen[same]


def without_repeats(source: Source, rows: list[Row], rejections: list[Rejection]) -> list[Row]:
    """The first row of each key; later ones are rejected."""
    first: dict[Any, Row] = {}
    for row in rows:
        key = key_of(source, row)
        if key not in first:
            first[key] = row
            continue
        where = f"{first[key][FILE]}:{first[key][LINE]}"
        rejections.append(reject(source, row, source.key[0], "duplicate", f"is there at {where}"))
    return list(first.values())


def linked(mapping: Mapping_, rows: Rows, rejections: list[Rejection]) -> World:
    """Drop what refers to nothing, and then what referred to that, until all is well."""
    while True:
        world = _world(mapping, rows)
        dropped = 0
        for name, source in mapping.sources.items():
            kept = []
            for row in rows[name]:
                broken = _broken(source, row, world)
                if broken is None:
                    kept.append(row)
                else:
                    rejections.append(broken)
            dropped += len(rows[name]) - len(kept)
            rows[name] = kept
        if not dropped:
            return world


def _world(mapping: Mapping_, rows: Rows) -> World:
    by_key = {
        name: {key_of(source, row): row for row in rows[name]}
        for name, source in mapping.sources.items()
    }
    joined: dict[tuple[str, str], dict[Any, Row]] = {}
    for name, source in mapping.sources.items():
        for label, join in source.joins.items():
            found: dict[Any, Row] = {}
            for row in rows[join.source]:
                if holds(join.where, row):
                    found.setdefault(row[join.column], row)
            joined[name, label] = found
    return World(by_key, joined)


def _broken(source: Source, row: Row, world: World) -> Rejection | None:
    for name, column in source.columns.items():
        if column.of and row[name] is not None and row[name] not in world.by_key[column.of]:
            thing = name.removesuffix("_id")
            return reject(source, row, name, "reference", f"there is no {thing} {row[name]}", False)
    for label, join in source.joins.items():
        if row[join.on] not in world.joined[source.name, label]:
            reason = f"there is no {label} of {row[join.on]} in {join.source}"
            return reject(source, row, join.on, "reference", reason, False)
    return None


def reject(
    source: Source, row: Mapping[str, Any], column: str, rule: str, reason: str,
    shows_value: bool = True, table: str | None = None,
) -> Rejection:  # fmt: skip
    """A rejection of a row that could be read."""
    shown = None
    if shows_value and column in row and row[column] is not None:
        text = str(row[column])
        shown = masked(text) if column in source.personal else text[:200]
    original = None if source.personal else row["_original"][:100_000]
    return Rejection(row[FILE], row[LINE], column, rule, reason, shown, table, original)
