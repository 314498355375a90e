"""Builds the read models that have news, and knows without a Spark job which have none.

What a read model was built from is noted beside it, after it was written: a kill in between, or a
lost note, makes it build once more, which changes nothing. Applications are folded again only where
an event arrived; the others are small and made whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import bronze, cdc, delta, lake
from pipelines.projections import case, events, rates, timeline, waits
from pipelines.projections.readiness import WAITING
from pipelines.refresh import WriterSchemas
from pipelines.visibility import Cut
from schemas import contract as contracts
from schemas import events as event_types

# Below this compiling a query takes longer than interpreting it, and one task is enough.
SMALL_BYTES = 4 * 1024 * 1024
QUICK = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
TIMELINE, STATES = "application_timeline", "application_states"
# Everything that happens to an application, to its offers and to the credit it becomes.
EVENTS = tuple(
    kind.name
    for kind in event_types.load_all()
    if kind.aggregate_type in ("application", "offer", "credit")
    or "application_id" in kind.own_fields
)
Tables = Mapping[str, DataFrame]


@dataclass(frozen=True)
class Built:
    """What one build did; `rows` is None where there was no news.

    `waiting` events are not in the cut, `unreadable` ones say nothing. `differing` applications
    have another status in silver than their events tell.
    """

    name: str
    rows: int | None = None
    waiting: int = 0
    unreadable: int = 0
    differing: int = 0


@dataclass(frozen=True)
class Derived:
    """Read models made whole of silver: of current rows, or of histories where order matters."""

    tables: tuple[str, ...]
    inputs: tuple[str, ...]
    make: Callable[[Tables, Cut], Mapping[str, DataFrame]]
    key: tuple[str, ...]
    of_history: bool = False
    # When the first of the rows changes without news, as SQL over the first table.
    due: str | None = None


DERIVED = (
    Derived(
        ("onboarding_case_projection",),
        case.INPUTS,
        lambda tables, cut: {"onboarding_case_projection": case.cases(tables)},
        ("case_id",),
    ),
    Derived(
        ("case_waits",),
        waits.INPUTS,
        lambda tables, cut: {"case_waits": waits.waits(tables, cut.taken_at)},
        ("case_id",),
        of_history=True,
        due=f"min(if(state = '{WAITING}', deadline_at, null))",
    ),
    Derived(
        ("provider_rate_intervals", "provider_rate_snapshots"),
        rates.INPUTS,
        lambda tables, cut: rates.by_name(tables),
        ("provider_id",),
    ),
)
# What is read of silver: by the derived ones, and to link events and compare their end.
INPUTS = tuple(
    sorted({"applications", "offers", "active_credits", *(e for d in DERIVED for e in d.inputs)})
)
NAMES = (TIMELINE, STATES, *(name for each in DERIVED for name in each.tables))


def build(
    spark: SparkSession,
    folder: Path,
    cut: Cut,
    writer_schemas: WriterSchemas,
    *,
    anew: bool = False,
) -> list[Built]:
    """Bring every read model to the cut; silver must be there already. `anew` forgets what was."""
    with delta.writing(lake.projections(folder)):
        if anew:
            forget(folder, NAMES)
        # A session of its own: its settings are for small tables.
        session = spark.newSession()
        built = _applications(session, folder, cut, writer_schemas)
        for each in DERIVED:
            built += _derived(session, folder, each, cut)
        return built


def forget(folder: Path, names: Iterable[str]) -> list[str]:
    """Remove these read models, so that the next build makes them anew; those that there were."""
    there = [name for name in names if lake.projection(folder, name).is_dir()]
    for name in there:
        shutil.rmtree(lake.projection(folder, name))
    return there


def complete_through(folder: Path, name: str) -> datetime | None:
    """The moment of the cut that a read model was last brought to; None before the first."""
    told = _noted(folder, name).get("taken_at")
    return datetime.fromisoformat(told) if told else None


def _derived(spark: SparkSession, folder: Path, each: Derived, cut: Cut) -> list[Built]:
    of = [contracts.load(entity) for entity in each.inputs]
    where = lake.history if each.of_history else lake.current
    paths = {c.entity: where(folder, c) for c in of}
    versions = {entity: delta.last_version(path) for entity, path in paths.items()}
    noted = _noted(folder, each.tables[0])
    is_due = noted.get("due_us") is not None and noted["due_us"] < _us(cut.taken_at)
    are_there = all(delta.exists(lake.projection(folder, name)) for name in each.tables)
    note = {"versions": versions, "taken_at": cut.taken_at.isoformat()}
    if set(versions.values()) == {delta.NEVER}:
        return [Built(name) for name in each.tables]  # no row has come yet
    if are_there and noted.get("versions") == versions and not is_due:
        _note(folder, each.tables[0], noted | note)
        return [Built(name) for name in each.tables]
    _tune(spark, list(paths.values()))
    tables = {c.entity: _rows(spark, paths[c.entity], c) for c in of}
    if not each.of_history:
        tables = {entity: rows.where("not _is_deleted") for entity, rows in tables.items()}
    made = each.make(tables, cut)
    built = []
    for name in each.tables:
        path = lake.projection(folder, name)
        before = delta.last_version(path)
        built.append(Built(name, delta.replace(made[name], path, statistics=each.key)))
        delta.clean(spark, path, before)
    if each.due:
        first = delta.read(spark, lake.projection(folder, each.tables[0]))
        note["due_us"] = first.selectExpr(f"unix_micros({each.due})").collect()[0][0]
    _note(folder, each.tables[0], note)
    return built


def _applications(
    spark: SparkSession, folder: Path, cut: Cut, writer_schemas: WriterSchemas
) -> list[Built]:
    noted = _noted(folder, TIMELINE)
    source = bronze.source(folder)
    are_there = all(delta.exists(lake.projection(folder, name)) for name in (TIMELINE, STATES))
    is_known = are_there and noted.get("source") == source
    since = noted["since"] if is_known else delta.NEVER
    unreadable = noted.get("unreadable", 0) if is_known else 0
    news = _news(spark, folder, source, since)
    note = {"source": source, "taken_at": cut.taken_at.isoformat()}
    if news is None:
        differing = _differing(spark, folder, noted, note)
        _note(folder, TIMELINE, note | {"since": since, "unreadable": unreadable})
        return [Built(TIMELINE, unreadable=unreadable), Built(STATES, differing=differing)]
    _tune(spark, [lake.projection(folder, name) for name in (TIMELINE, STATES)])
    ids = news.where("value_schema_id is not null").select("value_schema_id").distinct().collect()
    decoded = events.decoded(news, {i: writer_schemas(i) for (i,) in ids}, cut).persist()
    try:
        good = "_visible and problem is null"
        waiting, first_waiting, last, failed, visible = decoded.selectExpr(
            "count_if(not _visible)",
            "min(if(_visible, null, batch_id))",
            "max(batch_id)",
            "count_if(problem is not null)",
            f"count_if({good})",
        ).collect()[0]
        rows = (0, 0)
        if visible:
            rows = _fold(spark, folder, decoded.where(good).select(*timeline.EVENT))
        # What waits is read again, with all of its batch and later: it changes nothing twice.
        since = last if first_waiting is None else max(since, first_waiting - 1)
        seen_off = f"problem is not null and batch_id <= {since}"
        passed = decoded.where(seen_off).count() if failed else 0
    finally:
        decoded.unpersist()
    differing = _differing(spark, folder, noted, note)
    _note(folder, TIMELINE, note | {"since": since, "unreadable": unreadable + passed})
    told, ended = rows
    return [
        Built(TIMELINE, told, waiting, unreadable + failed),
        Built(STATES, ended, differing=differing),
    ]


def _differing(
    spark: SparkSession, folder: Path, noted: Mapping[str, Any], note: dict[str, Any]
) -> int:
    """Applications whose events tell another end than their row; counted when either has news."""
    contract = contracts.load("applications")
    paths = (lake.projection(folder, STATES), lake.current(folder, contract))
    note["compared"] = [delta.last_version(path) for path in paths]
    if noted.get("compared") == note["compared"] or delta.NEVER in note["compared"]:
        note["differing"] = noted.get("differing", 0)
    else:
        told, rows = (delta.read(spark, path) for path in paths)
        both = (
            told.where("status is not null")
            .alias("t")
            .join(rows.where("not _is_deleted").alias("s"), "application_id")
        )
        note["differing"] = both.where("t.status <> s.status").count()
    return int(note["differing"])


def _fold(spark: SparkSession, folder: Path, incoming: DataFrame) -> tuple[int, int]:
    """Fold the applications that these events touch; rows written of timeline and states."""
    path, states_path = (lake.projection(folder, name) for name in (TIMELINE, STATES))
    known = delta.read(spark, path).select(*timeline.EVENT) if delta.exists(path) else None
    arrived = incoming
    if known is not None:
        # An event whose application was not known may be linked by what comes now.
        arrived = incoming.unionByName(known.where("application_id is null"))
    offers, credits = _links(spark, folder, known, arrived)
    linked = timeline.linked(arrived, offers, credits).localCheckpoint()
    touched = linked.where("application_id is not null")
    if known is not None:
        of_touched = touched.select("application_id").distinct()
        others = known.join(of_touched, "application_id", "left_semi").select(*timeline.EVENT)
        touched = timeline.linked(touched.unionByName(others), offers, credits)
    folded = timeline.folded(touched).localCheckpoint()
    orphans = linked.where("application_id is null").selectExpr(
        "*", *(f"cast(null as {kind}) as {name}" for name, kind in timeline.ADDED.items())
    )
    rows = timeline.steps(touched, folded).unionByName(orphans).localCheckpoint()
    states = timeline.states(folded)
    _put(rows, path, "event_id")
    _put(states, states_path, "application_id")
    return rows.count(), folded.count()


def _links(
    spark: SparkSession, folder: Path, known: DataFrame | None, arrived: DataFrame
) -> tuple[DataFrame, DataFrame]:
    """(offers' applications, credits' offers): told by events, else by silver's rows.

    Silver is for what is older than its events.
    """
    told = arrived if known is None else arrived.unionByName(known)
    of_offers = told.select("offer_id", "application_id")
    of_credits = told.select("credit_id", "offer_id")
    for entity, columns in (("offers", of_offers), ("active_credits", of_credits)):
        contract = contracts.load(entity)
        rows = _rows(spark, lake.current(folder, contract), contract).select(*columns.columns)
        if entity == "offers":
            of_offers = of_offers.unionByName(rows)
        else:
            of_credits = of_credits.unionByName(rows)
    return of_offers, of_credits


def _news(spark: SparkSession, folder: Path, source: str, since: int) -> DataFrame | None:
    """Rows of bronze with these events beyond the batch; None when the log says there are none."""
    path = lake.bronze(folder)
    if not delta.exists(path):
        return None
    files = delta.added_since(path, source, since)
    if files is not None and not any(file.partition["entity"] in EVENTS for file in files):
        return None
    names = ", ".join(f"'{name}'" for name in EVENTS)
    news = delta.read(spark, path).where(f"entity in ({names}) and batch_id > {since}")
    return news if files is not None or news.take(1) else None


def _put(rows: DataFrame, path: Path, key: str) -> None:
    before = delta.last_version(path)
    if before == delta.NEVER:
        delta.append(rows, path, statistics=(key,), properties=delta.SHORT_LIVED)
    else:
        delta.upsert(rows, path, (key,))
        delta.clean(rows.sparkSession, path, before)


def _rows(spark: SparkSession, path: Path, contract: contracts.Contract) -> DataFrame:
    """A silver table; an empty frame where no row has come yet."""
    if delta.exists(path):
        return delta.read(spark, path)
    typed = {c.name: cdc.sql_type(c) for c in contract.columns} | cdc.TECHNICAL
    ddl = ", ".join(f"`{name}` {kind}" for name, kind in typed.items())
    return spark.createDataFrame([], f"{ddl}, _is_current boolean")


def _tune(spark: SparkSession, inputs: Sequence[Path]) -> None:
    sizes = [delta.size_bytes(path) for path in inputs if delta.exists(path)]
    for name, value in QUICK.items():
        if sum(sizes) <= SMALL_BYTES:
            spark.conf.set(name, value)
        else:
            spark.conf.unset(name)


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _noted(folder: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_note_path(folder, name).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def _note(folder: Path, name: str, what: Mapping[str, Any]) -> None:
    path = _note_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(what), encoding="utf-8")
    draft.replace(path)


def _note_path(folder: Path, name: str) -> Path:
    return lake.projections(folder) / f"{name}.json"
