"""Settings of the importers and the simulator; read once, in the command that runs them."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from MILLRACE_ variables."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    oltp_dsn: str = Field(description="Operational database, as app_rw: all rows are written there")
    kafka: str = Field(default="", description="Brokers, for requests sent by topic")
    registry: str = Field(default="", description="Schema registry, for the same requests")
    gateway: str = Field(default="", description="Where authorizations are asked for by HTTP")
    pii_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that wrap subjects' data keys, VERSION:BASE64 by comma, last is current",
    )
    pii_index_key: SecretStr = Field(
        default=SecretStr(""), description="Key of the blind indexes that personal data is found by"
    )
    pii_reader_dsn: SecretStr = Field(
        default=SecretStr(""),
        description="Operational database, as pii_reader: opens sealed values",
    )


class MissingError(ValueError):
    """A variable that must be set is not; the message names it."""


def read(*wanted: str) -> Settings:
    """The settings; raises MissingError unless the database and all of `wanted` are set."""
    try:
        found = Settings()  # type: ignore[call-arg]
    except ValidationError:
        raise MissingError("MILLRACE_OLTP_DSN is not set: run `millrace up` first") from None
    for name in wanted:
        value = getattr(found, name)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise MissingError(f"MILLRACE_{name.upper()} is not set: run `millrace up` first")
    return found
