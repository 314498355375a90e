"""Settings of the orchestration: where the databases, Kafka and the lake are."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from MILLRACE_ variables; the defaults let the definitions load without a stack."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    home: Path = Field(
        default=Path(".millrace"), description="State folder; dbt artifacts are kept there"
    )
    oltp_dsn: str = Field(
        default="postgresql://127.0.0.1/oltp", description="Decision times are read here"
    )
    oltp_admin_dsn: str = Field(
        default="postgresql://127.0.0.1/oltp", description="Cuts are taken here"
    )
    warehouse_dsn: str = Field(
        default="postgresql://127.0.0.1/warehouse",
        description="Silver is published and gold built here",
    )
    kafka: str = Field(default="127.0.0.1:9092", description="Bootstrap servers of the CDC topics")
    registry: str = Field(
        default="http://127.0.0.1:8080/apis/ccompat/v7", description="Writer schemas of the changes"
    )
    connect: str = Field(
        default="http://127.0.0.1:8083", description="Kafka Connect: how far capture has stored"
    )
    lake: Path = Field(default=Path(".millrace/lake"), description="Bronze, silver and quarantine")


def give_to_dbt(settings: Settings) -> None:
    """dbt's profile reads its connection from five variables; they follow from the one DSN."""
    address = urlsplit(settings.warehouse_dsn)
    os.environ.update(
        MILLRACE_WAREHOUSE_HOST=address.hostname or "127.0.0.1",
        MILLRACE_WAREHOUSE_PORT=str(address.port or 5432),
        MILLRACE_WAREHOUSE_USER=unquote(address.username or "warehouse_rw"),
        MILLRACE_WAREHOUSE_PASSWORD=unquote(address.password or ""),
        MILLRACE_WAREHOUSE_DATABASE=address.path.lstrip("/"),
    )
