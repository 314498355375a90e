"""The stack that the command line works on, found through the settings."""

import os
from collections.abc import Mapping
from functools import cache

from millrace.settings import Settings
from millrace.stack import Stack
from millrace.stack.dotenv import parse
from millrace.stack.errors import StackError
from millrace.stack.layout import Layout
from millrace.stack.passwords import PII_KEYS


def stack() -> Stack:
    """The stack below MILLRACE_HOME, whether it runs or not."""
    settings = _settings()
    return Stack(settings.home, jars=settings.jars, spark_master=settings.spark_master)


def addresses(*parts: str) -> Mapping[str, str]:
    """The variables with which these parts are reached.

    In a container, or wherever else somebody has set them, those of the environment; otherwise
    those of the local stack, provided that the parts run.
    """
    if _NAMED_FROM_OUTSIDE:
        return os.environ
    found = running(*parts)
    return {**found.secrets, **found.env}


def running(*parts: str) -> Stack:
    """The local stack, provided that these parts run; otherwise says what to do."""
    found = stack()
    states = found.status()
    down = [part for part in parts if not states[part].running]
    if down:
        raise StackError(
            f"{', '.join(down)} not running: start with `millrace up {' '.join(down)}`"
        )
    return found


def operational_dsn() -> str:
    """Where the operational database is, for tools that read and write it as the application."""
    return addresses("postgres")["MILLRACE_OLTP_DSN"]


# The commands that are given more than addresses: keys of personal data, or another role.
GIVEN: dict[str, tuple[str, ...]] = {
    "simulate": PII_KEYS,
    "import": PII_KEYS,
    "pii": (*PII_KEYS, "MILLRACE_PII_READER_DSN"),
    "audit": (
        "MILLRACE_AUDITOR_DSN",
        "MILLRACE_AUDIT_SEALER_DSN",
        "MILLRACE_AUDIT_KEY",
        "MILLRACE_AUDIT_CHECKPOINTS",
    ),
}


def load_environment(command: str | None = None) -> None:
    """Make the stack's variables this process's own; those that are set already win.

    What is confidential is loaded for the commands above only: other processes, and whatever they
    start, never have it.
    """
    layout = Layout(_settings().home.resolve())
    if not layout.env_file.exists():
        return
    for name, value in parse(layout.env_file.read_text()).items():
        os.environ.setdefault(name, value)
    wanted = GIVEN.get(command or "", ())
    if wanted and not _NAMED_FROM_OUTSIDE:
        confidential = stack().privileged
        for name in wanted:
            os.environ.setdefault(name, confidential[name])


# Asked once, before load_environment() makes the local stack's variables look the same.
_NAMED_FROM_OUTSIDE = "MILLRACE_OLTP_DSN" in os.environ


@cache
def _settings() -> Settings:
    # Kept, because load_environment() would otherwise turn what the last `up` used into a wish.
    return Settings()
