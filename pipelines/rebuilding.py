"""Silver of one entity again from bronze: all of it, or a range of records once more.

On replay: a change that silver has is the same state, so taking it again changes nothing; a rebuild
that is killed leaves less than it should be, which the next build makes good from the start.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines import checking, delta, delta_log, lake
from pipelines.refresh import SilverResult, build_silver
from pipelines.visibility import Cut
from schemas.contract import Contract

WriterSchemas = Callable[[int], str | None]
WAIT_S = 60.0
# What differs between two builds of the same changes: when they were made, and from which batch.
OF_THE_BUILD = ("_tick", "_ingested_at", "_batch_id", "_topic", "_partition", "_offset")


@dataclass(frozen=True)
class Rebuilt:
    """A rebuild: what it read, and whether what was there before said the same."""

    entity: str
    result: SilverResult
    before: tuple[int, int] | None
    after: tuple[int, int]

    @property
    def is_equal(self) -> bool | None:
        """Incremental and full agree; None when the old table could not be read."""
        return None if self.before is None else self.before == self.after


def rebuild(
    spark: SparkSession,
    folder: Path,
    contract: Contract,
    cut: Cut,
    writer_schemas: WriterSchemas,
) -> Rebuilt:
    """Make the entity's silver anew from all of bronze, and compare it with what it was.

    It is first brought to the cut as any tick would, so that both speak of the same moment. The
    cut must not be older than the one that silver is at.
    """
    place = lake.silver(folder, contract)
    aside = lake.aside(folder) / f"silver-{contract.entity}"
    before = _brought(spark, folder, contract, cut, writer_schemas)
    with delta.writing(place, WAIT_S):
        shutil.rmtree(aside, ignore_errors=True)
        if place.exists():
            aside.parent.mkdir(exist_ok=True)
            place.rename(aside)
        forget(spark)
    try:
        result = build_silver(spark, folder, contract, cut, writer_schemas)
    except Exception:
        # As it was; a later build goes on from there.
        with delta.writing(place, WAIT_S):
            shutil.rmtree(place, ignore_errors=True)
            if aside.exists():
                aside.rename(place)
            forget(spark)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    return Rebuilt(contract.entity, result, before, checksum(spark, folder, contract))


def replay(
    spark: SparkSession,
    folder: Path,
    contract: Contract,
    cut: Cut,
    writer_schemas: WriterSchemas,
    condition: str,
) -> SilverResult:
    """Take the entity's bronze records that `condition` (SQL) names once more."""
    return build_silver(spark, folder, contract, cut, writer_schemas, again=condition)


def checksum(spark: SparkSession, folder: Path, contract: Contract) -> tuple[int, int]:
    """Of everything that silver says of an entity, whatever build it came from."""
    sums = [0, 0]
    for number, table in enumerate(
        (lake.current(folder, contract), lake.history(folder, contract))
    ):
        if not delta.exists(table):
            continue
        rows = delta.read(spark, table)
        names = sorted(name for name in rows.columns if name not in OF_THE_BUILD)
        # As JSON: a null is left out there, and nothing runs into its neighbour.
        row = F.to_json(F.struct(*names))
        digest = F.conv(F.substring(F.md5(row), 1, 15), 16, 10).cast("decimal(38,0)")
        found = rows.select(digest.alias("digest")).agg(F.sum("digest")).collect()
        sums[number] = int(found[0][0] or 0)
    return sums[0], sums[1]


def forget(spark: SparkSession) -> None:
    """Tables that were put elsewhere are not known any more."""
    jvm = spark._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]


def _brought(
    spark: SparkSession, folder: Path, contract: Contract, cut: Cut, writer_schemas: WriterSchemas
) -> tuple[int, int] | None:
    """The checksum of silver as it is at the cut; None when it cannot be read."""
    place = lake.silver(folder, contract)
    if any(fault for table in delta_log.tables(place) for fault in checking.damages(table)):
        return None
    if not delta.exists(lake.history(folder, contract)):
        return None
    build_silver(spark, folder, contract, cut, writer_schemas)
    return checksum(spark, folder, contract)
