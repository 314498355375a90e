"""Settings of the importers and the simulator; read once, in the command that runs them."""

from __future__ import annotations

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from MILLRACE_ variables."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    oltp_dsn: str = Field(description="Operational database, as app_rw: all rows are written there")
    kafka: str = Field(default="", description="Brokers, for requests sent by topic")
    registry: str = Field(default="", description="Schema registry, for the same requests")
    gateway: str = Field(default="", description="Where authorizations are asked for by HTTP")


class MissingError(ValueError):
    """A variable that must be set is not; the message names it."""


def read(*wanted: str) -> Settings:
    """The settings; raises MissingError unless the database and all of `wanted` are set."""
    try:
        found = Settings()  # type: ignore[call-arg]
    except ValidationError:
        raise MissingError("MILLRACE_OLTP_DSN is not set: run `millrace up` first") from None
    for name in wanted:
        if not getattr(found, name):
            raise MissingError(f"MILLRACE_{name.upper()} is not set: run `millrace up` first")
    return found
