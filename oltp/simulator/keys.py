"""The keys of personal data, as the environment has them."""

from __future__ import annotations

from oltp.privacy import KeyMissingError, Vault
from oltp.settings import Settings


def needed(dsn: str) -> Vault:
    """The vault; KeyMissingError, naming the variable, without its keys."""
    return Vault.from_settings(Settings(oltp_dsn=dsn))


def found(dsn: str) -> Vault | None:
    """The vault, if its keys are there."""
    try:
        return needed(dsn)
    except KeyMissingError:
        return None
