"""What the worker reads from its environment; built once, in streams/app.py."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Addresses of what the agents read and write."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True)

    # Faust keeps a folder of its own below it.
    home: Path = Path(".millrace")
    # Where requests and changes come from and decisions go.
    kafka: str = "127.0.0.1:9092"
    # Schemas by id, Confluent API.
    registry: str = "http://127.0.0.1:8081/apis/ccompat/v7"
    # Copies and features.
    redis: str = "redis://127.0.0.1:6379/0"
    # The system of record, as app_rw: it carries a password, so it is never shown.
    oltp_dsn: str = Field(repr=False)
