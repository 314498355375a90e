"""F23: Spark killed before, during and after the commit of a batch; F33: out of memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.stack.layout import CHECKOUT
from pipelines import bronze, checking, delta, lake
from tests.faults.lakes import FORGOTTEN, INGEST, is_whole, killed, produce, rows_of

pytestmark = [pytest.mark.spark, pytest.mark.stack]
JARS = str(CHECKOUT / ".jars")
MOST = 150


def planned(folder: Path, log: str) -> int:
    """The last batch in one of the checkpoint's logs."""
    place = lake.bronze_checkpoint(folder) / log
    names = os.listdir(place) if place.is_dir() else []
    return max((int(n) for n in names if n.isdigit()), default=-1)


def files(folder: Path) -> int:
    """Data files in bronze, those of unfinished commits included."""
    return sum(1 for _ in lake.bronze(folder).glob("entity=*/*.parquet"))


@pytest.mark.long
def test_killed_before_during_and_after_the_commit(spark, broker, tmp_path, seed) -> None:
    keys, table = produce(broker, seed, 900), lake.bronze(tmp_path)
    # Planned, nothing written; rows written, not committed; committed, not marked as done.
    done = killed(tmp_path, JARS, broker, MOST, lambda: planned(tmp_path, "offsets") >= 0)
    found = {"before": (done, files(tmp_path), delta.last_version(table))}
    is_half_seen(spark, tmp_path)

    before = files(tmp_path)
    done = killed(tmp_path, JARS, broker, MOST, lambda: files(tmp_path) > before)
    found["during"] = (done, files(tmp_path), delta.last_version(table))
    is_half_seen(spark, tmp_path)

    version = delta.last_version(table)
    done = killed(tmp_path, JARS, broker, MOST, lambda: delta.last_version(table) > version)
    found["after"] = (done, delta.last_version(table), planned(tmp_path, "commits"))
    is_half_seen(spark, tmp_path)
    print(found)
    assert all(hit for hit, *_ in found.values()), found

    result = bronze.ingest(spark, tmp_path, broker, records_per_batch=MOST)
    assert result.rows
    is_whole(rows_of(spark, tmp_path), keys)
    assert checking.check(tmp_path) == []
    assert bronze.ingest(spark, tmp_path, broker).rows == {}


def is_half_seen(spark, folder: Path) -> None:
    """No reader ever sees half a batch: what is there is there once, and every batch is whole."""
    if delta.exists(lake.bronze(folder)):
        is_whole(rows_of(spark, folder), set())


@pytest.mark.long
def test_a_driver_that_runs_out_of_memory_loses_nothing(spark, broker, tmp_path, seed) -> None:
    """As if it had been killed: the next run, in smaller batches, goes on."""
    keys = produce(broker, seed, 450, bytes_each=900_000, to=(FORGOTTEN,))
    small = INGEST.replace(
        "Settings(lake=lake, jars=jars)",
        "Settings(lake=lake, jars=jars, spark_driver_memory='480m')",
    ).replace("spark = ", "session.LOCAL_JAVA += ' -XX:+ExitOnOutOfMemoryError'\nspark = ")
    arguments = [str(tmp_path), JARS, broker, "100000"]
    process = subprocess.run(
        [sys.executable, "-c", small, *arguments], timeout=200, capture_output=True, check=False
    )
    print(process.returncode, process.stderr.decode()[-300:])
    assert process.returncode != 0, "it had room enough: nothing was tested"
    is_half_seen(spark, tmp_path)
    bronze.ingest(spark, tmp_path, broker)
    is_whole(rows_of(spark, tmp_path), keys)
    assert checking.check(tmp_path) == []
