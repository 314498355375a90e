"""One Spark session with Delta, Kafka and Avro from local jars: quiet, UTC, loopback, no UI."""

from __future__ import annotations

import sys
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines.settings import Settings

LOG_CONFIGURATION = Path(__file__).with_name("log4j2.properties")
# A corrupt length must not make the decoder allocate gigabytes (Avro reads these at start).
AVRO_LIMIT_BYTES = 64 * 1024 * 1024
# On one machine a run is over before the optimizing compiler has paid for itself: the quick one
# alone starts and loads faster. It needs more room for code than it is given by default.
LOCAL_JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseParallelGC"
MIB = 1024 * 1024


class JarsMissing(RuntimeError):
    """The jars that Spark needs are not on this machine; the message says how to get them."""


def build(settings: Settings) -> SparkSession:
    """The session of this process: built on the first call, the same one afterwards."""
    builder = SparkSession.builder.master(settings.spark_master).appName("millrace")
    for name, value in _options(settings).items():
        builder = builder.config(name, value)
    session: SparkSession = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    if settings.spark_master.startswith("local"):
        # Folds in Python run on this interpreter; a cluster has its own.
        session.sparkContext.pythonExec = sys.executable
    return session


def _options(settings: Settings) -> dict[str, str]:
    folder = settings.jars.resolve() / "spark"
    jars = sorted(str(path) for path in folder.glob("*.jar"))
    if not jars:
        raise JarsMissing(f"no Spark jars in {folder}: run scripts/setup, or set MILLRACE_JARS")
    java = (
        f"-Dlog4j2.configurationFile={LOG_CONFIGURATION.as_uri()}"
        f" -Dorg.apache.avro.limits.bytes.maxLength={AVRO_LIMIT_BYTES}"
        f" -Dorg.apache.avro.limits.string.maxLength={AVRO_LIMIT_BYTES}"
        " -Duser.timezone=UTC"
    )
    if settings.spark_master.startswith("local"):
        java = f"{LOCAL_JAVA} {java}"
    return {
        "spark.jars": ",".join(jars),
        # Also on the class path: the Delta extension is loaded before spark.jars is.
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": java,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(settings.lake.resolve() / "unnamed"),
        "spark.sql.session.timeZone": "UTC",
        # A value that does not fit becomes null and is quarantined; it must not stop the batch.
        "spark.sql.ansi.enabled": "false",
        # from_avro's one option is a map that plans of two builds may evaluate at the same moment;
        # its single entry twice is no error.
        "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # The state of a table is small: one task reads it, and every 50th commit sums it up.
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.properties.defaults.checkpointInterval": "50",
        # Removing old files lists folders in this many tasks; the default is ten thousand.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
        # Columns whose bounds are kept in the log are named table by table; unnamed ones, which may
        # be personal, never are.
        "spark.databricks.delta.properties.defaults.dataSkippingNumIndexedCols": "0",
        # A flipped byte is an error, never another value.
        "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
        # What compaction leaves alone, and how large it makes files.
        "spark.databricks.delta.optimize.minFileSize": str(16 * MIB),
        "spark.databricks.delta.optimize.maxFileSize": str(128 * MIB),
        # The source of a MERGE is cached by us; copying it again costs a job each.
        "spark.databricks.delta.merge.materializeSource": "none",
    }
