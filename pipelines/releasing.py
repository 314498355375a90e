"""Quarantined changes on their way back: what was released re-enters the next build, once."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from schemas.contract import Contract


def released(
    spark: SparkSession, lake_folder: Path, contract: Contract, *, again: bool
) -> DataFrame | None:
    """Released records in bronze's columns and `patch`; None, without a Spark job, when none.

    `again`: silver is built from the start, so records that were applied before come again too.
    """
    return None


def patched(changes: DataFrame, contract: Contract) -> DataFrame:
    """The changes with their `_patch` laid over what was captured, pure."""
    return changes


def settle(
    spark: SparkSession, lake_folder: Path, contract: Contract, judged: DataFrame, tick: int
) -> None:
    """After a build's writes: what it took of the released is applied, or held for new reasons."""
