"""All of bronze as silver once more, without a table: what an entity's history has to say at a cut.

Input: bronze's records of one entity. Output: every state of every key, as the builds would make
them from the start in one batch. Nothing is written, but for a table that was truncated or whose
rows got other keys: then the build itself makes it, in a lake aside.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import cdc, delta, history, lake, quarantine, refresh, releasing, writer_columns
from pipelines.certificate.arrived import Arrived
from pipelines.filling import INCOMPLETE
from pipelines.silver import CONFORM
from pipelines.silver_tables import SilverTables
from pipelines.visibility import Cut
from schemas.contract import Contract

WriterSchemas = Callable[[int], str | None]
# What a person let in otherwise than it was captured is explained as well as what is kept out.
_KEPT_OUT = "_visible and _problem is null and (size(_reasons) > 0 or _is_released)"


@dataclass(frozen=True)
class Fold:
    """The states (None: there is none), and the changes that silver need not have as they are."""

    states: DataFrame | None
    kept_out: DataFrame | None = None


@contextmanager
def folded(
    spark: SparkSession,
    folder: Path,
    contract: Contract,
    cut: Cut,
    schemas: WriterSchemas,
    arrived: Arrived,
) -> Iterator[Fold]:
    """The fold of what has arrived, for as long as it is looked at. One Spark job, mostly."""
    if not arrived.rows:
        yield Fold(None)
        return
    # Read by the sums and, when something differs, once more.
    judged = _judged(spark, folder, contract, cut, schemas, arrived).localCheckpoint(eager=False)
    valid = "_visible and _op is not null and _op <> 't' and size(_reasons) = 0"
    states, incomplete, truncates, moved, broken = judged.selectExpr(
        f"count_if({valid})",
        f"coalesce(max(case when {valid} then size(_unchanged) end), 0) > 0",
        f"count_if({refresh.TRUNCATE})",
        f"count_if({valid} and {INCOMPLETE})",
        f"count_if({_KEPT_OUT})",
    ).collect()[0]
    kept_out = judged.where(_KEPT_OUT) if broken else None
    if truncates or moved:
        with _aside(spark, folder, contract, cut, schemas) as past:
            yield Fold(past, kept_out)
    elif not states:
        yield Fold(None, kept_out)
    else:
        rows, _ = quarantine.split(judged.where("_visible"))
        conform = CONFORM.get(contract.entity)
        rows = conform(rows) if conform else rows
        yield Fold(history.states(rows, None, contract, incomplete), kept_out)


def _judged(
    spark: SparkSession,
    folder: Path,
    contract: Contract,
    cut: Cut,
    schemas: WriterSchemas,
    arrived: Arrived,
) -> DataFrame:
    values = {i: schemas(i) for i in sorted(arrived.value_ids)}
    keys = {i: schemas(i) for i in sorted(arrived.key_ids)}
    records = delta.read(spark, lake.bronze(folder)).where(F.col("entity") == contract.entity)
    # What was released comes as it was released, as it did in the builds.
    released = releasing.released(spark, folder, contract, again=True)
    records = releasing.joined(records, released) if released is not None else records
    kept = SilverTables(spark, folder, contract).kept_columns()
    whole = writer_columns.with_undeclared(contract, filter(None, values.values()), kept)
    dropped = writer_columns.dropped(whole, values, getattr(schemas, "before", None))
    changes = cdc.changes(records, whole, values, keys, cut, dropped)
    judged = quarantine.judge(releasing.patched(changes, whole), whole)
    needed = [f"`{c.name}`" for c in contract.columns]
    marks = ["_unchanged", "_visible", "_reasons", "_problem"]
    is_released = "_patch is not null" if released is not None else "false"
    return judged.selectExpr(*needed, *cdc.TECHNICAL, *marks, f"{is_released} as _is_released")


@contextmanager
def _aside(
    spark: SparkSession, folder: Path, contract: Contract, cut: Cut, schemas: WriterSchemas
) -> Iterator[DataFrame | None]:
    """History as the builds make it, in a lake that has nothing else."""
    place = lake.aside(folder) / f"certificate-{contract.entity}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        for shared in (lake.bronze(folder), lake.bronze_checkpoint(folder).parent):
            if shared.exists():
                (place / shared.name).symlink_to(shared.resolve(), target_is_directory=True)
        refresh.build_silver(spark, place, contract, cut, schemas)
        table = lake.history(place, contract)
        yield delta.read(spark, table) if delta.exists(table) else None
    finally:
        shutil.rmtree(place, ignore_errors=True)
