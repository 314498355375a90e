"""What the gateway reads from its environment; built once, in serving/app.py."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Addresses of what the gateway asks."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True)

    # The journal of stand-in answers is in a folder of its own below it.
    home: Path = Path(".millrace")
    # Requests go out here and decisions come back.
    kafka: str = "127.0.0.1:9092"
    # Schemas by id, Confluent API.
    registry: str = "http://127.0.0.1:8081/apis/ccompat/v7"
    # Online features, and what may be approved while nobody decides.
    redis: str = "redis://127.0.0.1:6379/0"
    # Stored decisions, as app_rw: it carries a password, so it is never shown.
    oltp_dsn: str = Field(repr=False)
