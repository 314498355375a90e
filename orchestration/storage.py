"""Dagster's Postgres storage with connections kept open.

Dagster opens a connection for each event outside its web server. A tick has over a thousand events
(every rule is a check), and a connection costs more than the insert it is opened for.
"""

from collections.abc import Mapping
from typing import Any, cast

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.config import PostgresStorageConfig
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

# What the web server does for itself, with its own figures.
KEPT_OPEN = {"statement_timeout": 60_000, "pool_recycle": 3_600, "max_overflow": 20}


class PooledPostgresStorage(DagsterPostgresStorage):
    """Named in dagster.yaml; every process of the instance uses it."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The same settings as the storage it is."""
        settings: UserConfigSchema = DagsterPostgresStorage.config_type()
        return settings

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        """The storage at the configured address, its connections kept."""
        storage = cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(cast(PostgresStorageConfig, config_value)),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
        )
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            part.optimize_for_webserver(**KEPT_OPEN)
        return storage
