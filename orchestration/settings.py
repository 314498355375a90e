"""Settings of the orchestration: where the databases, Kafka and the lake are."""

from pathlib import Path

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
    redis: str = Field(
        default="redis://127.0.0.1:6379/0", description="Where the streams' state is"
    )
    lake: Path = Field(default=Path(".millrace/lake"), description="Bronze, silver and quarantine")
