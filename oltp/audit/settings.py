"""Settings of the audit's sealer and verifier; read once, in the command that runs them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from MILLRACE_ variables."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    audit_sealer_dsn: SecretStr = Field(
        default=SecretStr(""), description="Operational database, as audit_sealer: writes the chain"
    )
    auditor_dsn: SecretStr = Field(
        default=SecretStr(""), description="Operational database, as auditor: only reads"
    )
    audit_checkpoints: Path | None = Field(
        default=None, description="File of signed checkpoints, outside the database's reach"
    )
    audit_key: SecretStr = Field(
        default=SecretStr(""), description="Ed25519 key that signs them, 32 bytes in base64"
    )
    audit_public_key: str = Field(
        default="", description="Its public half, to verify with; else the file's .pub is read"
    )
