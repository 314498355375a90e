"""What is in quarantine and how it stands, read without Spark: the table's files and the decisions.

A change that was delivered and judged several times is one change: first seen when it first broke
its contract, last seen when it was last judged broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines import decisions, delta_log, lake
from pipelines.decisions import HELD, Decision, Place, Reasons, Standing

COLUMNS = ("topic", "partition", "offset", "key", "op", "lsn", "reasons", "quarantined_at")
BYTES = ("value", "value_schema_id", "key_schema_id")


@dataclass(frozen=True)
class Quarantined:
    """One change that broke its contract. `place`: where it was delivered first."""

    entity: str
    identity: str
    place: Place
    state: str
    key: bytes | None
    op: str | None
    lsn: int | None
    reasons: Reasons
    first_seen_at: datetime
    last_seen_at: datetime
    times: int
    standing: Standing | None = None

    @property
    def name(self) -> str:
        """What people call it: entity/partition@offset."""
        return f"{self.entity}/{self.place.partition}@{self.place.offset}"

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules it breaks."""
        return tuple(rule for rule, _ in self.reasons)

    @property
    def patch(self) -> dict[str, str | None]:
        """What it is fixed with, if it is."""
        return dict((self.standing.row.patch if self.standing else None) or {})


@dataclass(frozen=True)
class Wanted:
    """Which changes: all that is said must hold."""

    entity: str | None = None
    rule: str | None = None
    state: str | None = None
    names: tuple[str, ...] = ()

    def entities(self) -> set[str] | None:
        """The only entities that can have such; None when any can."""
        named = {name.partition("/")[0] for name in self.names}
        if self.entity:
            return {self.entity} & named if named else {self.entity}
        return named or None

    def has(self, one: Quarantined) -> bool:
        """Whether it is one of them."""
        return (
            self.entity in (None, one.entity)
            and (self.rule is None or self.rule in one.rules)
            and self.state in (None, one.state)
            and (not self.names or one.name in self.names)
        )


def find(lake_folder: Path, wanted: Wanted) -> list[Quarantined]:
    """The changes that fit, in the order of their places. Raises delta_log.LogDamaged."""
    found: list[Quarantined] = []
    for entity, rows in _by_entity(lake_folder, wanted.entities(), COLUMNS):
        decided = decisions.all_of(lake_folder, entity)
        found += [one for one in _changes(entity, rows, decided) if wanted.has(one)]
    return sorted(found, key=lambda q: (q.entity, q.place.partition, q.place.offset))


def content(lake_folder: Path, one: Quarantined) -> dict[str, Any]:
    """The bytes of a change and the ids of their schemas."""
    for _, rows in _by_entity(lake_folder, {one.entity}, (*COLUMNS, *BYTES)):
        for row in rows:
            if _place(row) == one.place:
                return {name: row[name] for name in BYTES}
    raise KeyError(one.name)


def life(lake_folder: Path, one: Quarantined) -> list[Decision]:
    """Every decision about a change, oldest first."""
    return [
        decision
        for decision in decisions.all_of(lake_folder, one.entity)
        if any(row.identity == one.identity for row in decision.rows)
    ]


def _by_entity(
    lake_folder: Path, entities: set[str] | None, columns: Sequence[str]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    from pyarrow import parquet

    table = lake.quarantine(lake_folder)
    found: dict[str, list[dict[str, Any]]] = {}
    for file in delta_log.read(table).files.values():
        entity = file.partition["entity"]
        if entities is None or entity in entities:
            # Spark writes times as INT96, in UTC.
            opened = parquet.ParquetFile(table / file.path, coerce_int96_timestamp_unit="us")
            rows = opened.read(columns=list(columns)).to_pylist()
            found.setdefault(entity, []).extend(rows)
    yield from sorted(found.items())


def _changes(
    entity: str, rows: Sequence[dict[str, Any]], decided: Sequence[Decision]
) -> list[Quarantined]:
    stand = decisions.standing(decided)
    judged_again = {
        row.identity: decision.at
        for decision in decided
        if decision.by == decisions.BUILD and decision.state == HELD
        for row in decision.rows
    }
    delivered: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = decisions.identity(entity, _place(row), row["key"], row["op"], row["lsn"])
        delivered.setdefault(name, []).append(row)
    changes = []
    for name, same in delivered.items():
        first = min(same, key=lambda row: (row["partition"], row["offset"]))
        seen = [row["quarantined_at"].replace(tzinfo=UTC) for row in same]
        standing = stand.get(name)
        changes.append(
            Quarantined(
                entity=entity,
                identity=name,
                place=standing.row.place if standing else _place(first),
                state=standing.state if standing else HELD,
                key=first["key"],
                op=first["op"],
                lsn=first["lsn"],
                reasons=_reasons(first, standing),
                first_seen_at=min(seen),
                last_seen_at=max([*seen, *filter(None, [judged_again.get(name)])]),
                times=len(same),
                standing=standing,
            )
        )
    return changes


def _place(row: dict[str, Any]) -> Place:
    return Place(row["topic"], row["partition"], row["offset"])


def _reasons(row: dict[str, Any], standing: Standing | None) -> Reasons:
    """Those of the last time it was judged."""
    if standing and standing.row.reasons:
        return standing.row.reasons
    return tuple((reason["rule"], reason["message"]) for reason in row["reasons"])
