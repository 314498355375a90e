"""What the pipelines are told from outside: addresses, folders, sizes. Built once, passed down."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One meaning per variable, shared with every other runtime (prefix MILLRACE_)."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    # Bronze, silver, quarantine and checkpoints live below it.
    lake: Path
    # Folder with spark/: the jars of Delta, Kafka and Avro, read from disk and never downloaded.
    jars: Path = Path(".jars")
    # local[2] on one machine; the address of a cluster elsewhere.
    spark_master: str = "local[2]"
    # The driver is the executor in local mode; 2 GiB holds a batch and Delta's metadata.
    spark_driver_memory: str = "2g"
    # Bootstrap servers of the broker that bronze reads.
    kafka: str = ""
    # Confluent API of the registry that holds the writer schemas.
    registry: str = ""
    # Where silver is published, as warehouse_rw.
    warehouse_dsn: str = ""
    # Cuts, slot status and the witness need more rights than the application has: to become `cdc`.
    oltp_admin_dsn: str = ""
