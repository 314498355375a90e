"""What was damaged in the lake made whole: bronze from Kafka, silver from bronze.

Input: what `checking` found. Output: the same rows as before, in files that are whole; what was
damaged is put aside, never deleted. What Kafka no longer has cannot be healed, and that is said.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from pipelines import bronze, care, checking, checkpoint, delta, delta_log, lake, rebuilding
from pipelines.checking import Damage, Kind
from pipelines.refetching import Place, count, refetch
from schemas import topics


class HealError(RuntimeError):
    """Something cannot be made whole; the message says what, and what is left to do."""


@dataclass(frozen=True)
class Healed:
    """One thing that was made whole, and how."""

    what: str
    how: str
    # Entities whose silver has to take these bronze records again: entity -> SQL.
    again: dict[str, str]


def heal_bronze(
    spark: SparkSession, folder: Path, kafka: str, found: Iterable[Damage]
) -> list[Healed]:
    """Make bronze whole. Its checkpoint is not touched: `recovering` looks after it."""
    own = [d for d in found if d.table == lake.bronze(folder)]
    with delta.writing(lake.bronze(folder), care.WAIT_S):
        done = [_forget_sums(damage) for damage in own if damage.kind == Kind.SUMS]
        if any(damage.kind == Kind.LOG for damage in own):
            done.append(_heal_log(spark, folder, own))
            own = [*checking.damages(lake.bronze(folder)), *_places(folder)]
        by_entity: dict[str, list[Damage]] = {}
        for damage in own:
            if damage.kind in (Kind.DATA, Kind.GAP) and damage.entity:
                by_entity.setdefault(damage.entity, []).append(damage)
        for entity, damages in sorted(by_entity.items()):
            done.append(_heal_entity(spark, folder, kafka, entity, damages))
        return done


def heal_silver(
    folder: Path, found: Iterable[Damage], rebuild: Callable[[str], object]
) -> list[Healed]:
    """Build every entity anew whose silver is damaged; `rebuild` does it."""
    done: list[Healed] = []
    entities = set()
    for damage in found:
        if damage.table.parent.parent != lake.all_silver(folder):
            continue
        if damage.kind == Kind.SUMS:
            done.append(_forget_sums(damage))
        else:
            entities.add(damage.table.parent.name)
    for entity in sorted(entities):
        rebuild(entity)
        done.append(Healed(f"silver of {entity}", "built anew from bronze", {}))
    return done


def heal_projections(folder: Path, found: Iterable[Damage]) -> list[Healed]:
    """Put damaged read models aside: the next run folds them anew from what is whole."""
    own = [d for d in found if d.table.parent == lake.projections(folder)]
    if not own:
        return []
    done: list[Healed] = []
    with delta.writing(lake.projections(folder), care.WAIT_S):
        done += [_forget_sums(damage) for damage in own if damage.kind == Kind.SUMS]
        for table in sorted({d.table for d in own if d.kind != Kind.SUMS}):
            _aside(folder, table)
            done.append(Healed(table.name, "put aside; the next run makes it anew", {}))
    return done


def heal_quarantine(spark: SparkSession, folder: Path, found: Iterable[Damage]) -> list[Healed]:
    """Forget what is damaged of quarantine; the entities concerned are judged again."""
    table = lake.quarantine(folder)
    own = [d for d in found if d.table == table]
    if not own:
        return []
    with delta.writing(table, care.WAIT_S):
        done = [_forget_sums(damage) for damage in own if damage.kind == Kind.SUMS]
        if any(damage.kind == Kind.LOG for damage in own):
            entities = {p.name.partition("=")[2] for p in table.glob("entity=*")}
            _aside(folder, table)
            rebuilding.forget(spark)
        else:
            lost = [damage for damage in own if damage.kind == Kind.DATA]
            if not lost:
                return done
            state = delta_log.read(table)
            entities = {damage.entity or "" for damage in lost}
            names = [damage.file.relative_to(table).as_posix() for damage in lost]
            care.swap(spark, table, [state.files[name] for name in names], [])
            for damage in lost:
                _aside(folder, damage.file)
    again = dict.fromkeys(sorted(filter(None, entities)), "true")
    return [*done, Healed("quarantine", "records forgotten, to be judged again", again)]


def _heal_entity(
    spark: SparkSession, folder: Path, kafka: str, entity: str, damages: list[Damage]
) -> Healed:
    """Bring the records of lost files, or of gaps, from Kafka again."""
    table = lake.bronze(folder)
    state = delta_log.read(table)
    names = [d.file.relative_to(table).as_posix() for d in damages if d.kind == Kind.DATA]
    lost = [state.files[name] for name in names]
    places = [Place(*place) for damage in damages for place in damage.places]
    if lost:
        places += _lost_places(folder, entity, lost, state, set(names))
    batch = max((int(f.statistics["maxValues"]["batch_id"]) for f in lost), default=delta.NEVER)
    if batch == delta.NEVER:
        batch = state.marks.get(bronze.source(folder), 0)
    rows = bronze.shaped(refetch(spark, kafka, places), batch)
    staged = lake.aside(folder) / f"healing-{entity}"
    shutil.rmtree(staged, ignore_errors=True)
    delta.append(rows.coalesce(1), staged, partition_by=("entity",), statistics=bronze.STATISTICS)
    fetched = delta_log.read(staged)
    wanted = sum(file.rows for file in lost) or count(places)
    if fetched.rows < wanted:
        shutil.rmtree(staged)
        raise HealError(
            f"bronze has lost {wanted:,} records of {entity} and Kafka has only "
            f"{fetched.rows:,} of them any more: take a new snapshot of the table "
            "(`millrace connectors snapshot`), or bring the files back from a backup"
        )
    for name in fetched.files:
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        for moved in ((staged / name), (staged / name).with_name(f".{Path(name).name}.crc")):
            if moved.exists():
                moved.rename((table / name).with_name(moved.name))
    care.swap(spark, table, lost, [file.added for file in fetched.files.values()])
    for damage in damages:
        if damage.kind == Kind.DATA:
            _aside(folder, damage.file)
    shutil.rmtree(staged)
    again = " or ".join(
        f"(topic = '{p.topic}' and partition = {p.partition}"
        f" and offset between {p.start} and {p.end - 1})"
        for p in places
    )
    how = f"{fetched.rows:,} records read again from Kafka"
    return Healed(f"bronze of {entity}", how, {entity: again})


def _lost_places(
    folder: Path,
    entity: str,
    lost: list[delta_log.DataFile],
    state: delta_log.TableState,
    names: set[str],
) -> list[Place]:
    """Where the records of lost files were: within their bounds, what no other file has."""
    table = lake.bronze(folder)
    others = [
        table / name
        for name, file in state.files.items()
        if file.partition["entity"] == entity and name not in names
    ]
    have = {place: set(offsets) for place, offsets in checking.offsets_of(others).items()}
    (topic,) = (name for name, known in topics.archived().items() if known == entity)
    ends = checkpoint.planned_ends(folder).get(topic, {})
    wanted: dict[int, set[int]] = {}
    for file in lost:
        low, high = file.statistics["minValues"], file.statistics["maxValues"]
        for partition in range(int(low["partition"]), int(high["partition"]) + 1):
            end = min(int(high["offset"]) + 1, ends.get(str(partition), int(high["offset"]) + 1))
            wanted.setdefault(partition, set()).update(range(int(low["offset"]), end))
    return [
        Place(topic, partition, start, end)
        for partition, offsets in sorted(wanted.items())
        for start, end in _spans(sorted(offsets - have.get((topic, partition), set())))
    ]


def _places(folder: Path) -> Iterable[Damage]:
    return checking.places(lake.bronze(folder), checkpoint.given_up(folder))


def _spans(offsets: list[int]) -> Iterable[tuple[int, int]]:
    """Neighbours put together: (first, the one after the last)."""
    start = before = None
    for offset in offsets:
        if start is None or before is None or offset != before + 1:
            if start is not None and before is not None:
                yield start, before + 1
            start = offset
        before = offset
    if start is not None and before is not None:
        yield start, before + 1


def _heal_log(spark: SparkSession, folder: Path, damages: list[Damage]) -> Healed:
    """A log that cannot be read: sum it up from its commits, else make the table from its files."""
    table = lake.bronze(folder)
    commits = sorted((table / "_delta_log").glob("*.json"))
    numbers = [int(c.name[:20]) for c in commits if c.name[:20].isdigit()]
    broken = {d.file for d in damages if d.kind == Kind.LOG}
    if all(".checkpoint." in file.name for file in broken) and numbers == list(range(len(numbers))):
        for file in broken:
            _aside(folder, file)
        (table / "_delta_log" / "_last_checkpoint").unlink(missing_ok=True)
        rebuilding.forget(spark)
        return Healed("bronze's log", "read again from its commits", {})
    rows = _salvaged(spark, table)
    name = checkpoint.source(folder)
    made = lake.aside(folder) / "bronze-salvaged"
    shutil.rmtree(made, ignore_errors=True)
    last = rows.agg(F.max("batch_id")).collect()[0][0]
    mark = None if last is None else delta.Mark(name, last)
    delta.append(rows, made, mark, partition_by=("entity",), statistics=bronze.STATISTICS)
    count_ = delta_log.read(made).rows
    _aside(folder, table)
    made.rename(table)
    rebuilding.forget(spark)
    return Healed("bronze's log", f"table made anew of {count_:,} records in its files", {})


def _salvaged(spark: SparkSession, table: Path) -> DataFrame:
    """Each record once, from every file that is whole, also of commits that nobody finished."""
    whole = [
        str(file) for file in table.glob("entity=*/*.parquet") if checking.file_fault(file) is None
    ]
    if not whole:
        raise HealError(f"no file of {table} is whole: move it away and load bronze anew")
    rows = spark.read.option("basePath", str(table)).parquet(*whole)
    by_place = Window.partitionBy("topic", "partition", "offset").orderBy("batch_id")
    first = rows.withColumn("_number", F.row_number().over(by_place)).where("_number = 1")
    return first.drop("_number").withColumn("entity", F.col("entity").cast("string"))


def _forget_sums(damage: Damage) -> Healed:
    """The file is whole; the sums beside it, which are not, would stop every reader."""
    if damage.file.suffix == ".crc":
        damage.file.unlink(missing_ok=True)
    else:
        damage.file.with_name(f".{damage.file.name}.crc").unlink(missing_ok=True)
    return Healed(damage.file.name, "the file is whole; damaged checksums beside it removed", {})


def _aside(folder: Path, place: Path) -> None:
    """Keep what is damaged, out of the way."""
    if place.exists():
        kept = lake.aside(folder) / str(time.time_ns() // 1_000_000)
        kept.mkdir(parents=True, exist_ok=True)
        place.rename(kept / place.name)
