"""Session fixtures: a stack of real services in a temporary folder, and a Spark session."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from millrace.stack import Stack
from millrace.stack.layout import CHECKOUT

DATA_PATH = ("postgres", "redis", "kafka", "registry", "connect", "worker", "gateway")
PREFIX = "millrace-test-"


def pytest_configure() -> None:
    """A test run that is told to end still stops what it started."""
    signal.signal(signal.SIGTERM, _interrupt)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on a Postgres of its own is marked so: `make check` leaves it out."""
    for item in items:
        if "postgres_only" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole data path, from the gateway to Connect, shared by the session's tests."""
    yield from temporary_stack(DATA_PATH)


@pytest.fixture(scope="session")
def postgres_only() -> Iterator[Stack]:
    """Just Postgres, with every database migrated: ready in about two seconds."""
    yield from temporary_stack(("postgres",))


@pytest.fixture
def stack_env(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The stack's MILLRACE_ variables, also set in this process's environment."""
    for name, text in stack.env.items():
        monkeypatch.setenv(name, text)
    return stack.env


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One local Spark session with Delta, as the pipelines build it."""
    from pipelines import session
    from pipelines.settings import Settings

    lake = tmp_path_factory.mktemp("lake")
    spark = session.build(Settings(lake=lake, jars=CHECKOUT / ".jars", spark_master="local[2]"))
    yield spark
    spark.stop()


def temporary_stack(parts: tuple[str, ...]) -> Iterator[Stack]:
    """A stack that is gone without a trace afterwards."""
    _clear_abandoned()
    # Not pytest's own temporary folder: the postgres user may not enter that.
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    home.chmod(0o755)
    stack = Stack(home)
    try:
        if parts:
            stack.up(parts)
        yield stack
    finally:
        stack.down(purge=True)


def _clear_abandoned() -> None:
    """Stop the stacks of test runs that were killed."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = home.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            Stack(home).down(purge=True)
            shutil.rmtree(home, ignore_errors=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
