"""The lake as the command line works on it: its folder, Spark, the newest cut, one run at once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import typer
from rich.console import Console

from orchestration import control, lease
from orchestration.settings import Settings
from pipelines.visibility import Cut
from schemas import contract as contracts
from schemas.contract import Contract


@dataclass(frozen=True)
class Opened:
    """What long work needs. No tick touches the lake meanwhile."""

    spark: Any
    folder: Path
    settings: Settings

    def cut(self) -> Cut:
        """The newest cut: what silver is brought to."""
        try:
            return control.last_cut(self.settings.warehouse_dsn)[1]
        except LookupError as error:
            refuse(str(error))

    def schemas(self) -> Callable[[int], str | None]:
        """Writer schemas from the registry."""
        from pipelines.registry import WriterSchemas

        return WriterSchemas(self.settings.registry)


def folder() -> Path:
    """Where the lake is; refused when there is none yet."""
    found = Settings().lake
    if not found.is_dir():
        refuse(f"there is no lake at {found} yet: `millrace demo` makes one")
    return found


@contextmanager
def opened(why: str) -> Iterator[Opened]:
    """The lake for one command; expected failures end in one message and exit code 1."""
    settings, place = Settings(), folder()
    console = Console(stderr=True, highlight=False)
    warnings.simplefilter("ignore")
    try:
        with (
            console.status("waiting for the run under way") as status,
            lease.hold(settings.warehouse_dsn, f"lake-{why}-{os.getpid()}"),
        ):
            status.update("starting Spark")
            with _session(place) as spark:
                status.stop()
                yield Opened(spark, place, settings)
    except psycopg.OperationalError:
        refuse("the warehouse does not answer: is the stack up? (`millrace up`)")
    except lease.LakeBusyError as error:
        refuse(str(error))
    except _expected() as error:
        refuse(str(error))


@contextmanager
def readable() -> Iterator[Opened]:
    """The lake for reading, beside a tick that writes it: a table is read as of its last commit."""
    place = folder()
    warnings.simplefilter("ignore")
    with Console(stderr=True, highlight=False).status("starting Spark") as status:
        try:
            with _session(place) as spark:
                status.stop()
                yield Opened(spark, place, Settings())
        except _expected() as error:
            refuse(str(error))


def entity(name: str) -> Contract:
    """The contract of `name`, or the names there are."""
    try:
        return contracts.load(name)
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None


def refuse(why: str) -> NoReturn:
    """End with one message."""
    typer.echo(f"millrace: {why}", err=True)
    raise typer.Exit(1)


@contextmanager
def _session(place: Path) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    from pipelines import session
    from pipelines.settings import Settings as PipelineSettings

    # In a test the session is somebody else's, and they stop it.
    is_ours = SparkSession._instantiatedSession is None
    spark = session.build(PipelineSettings(lake=place))
    try:
        yield spark
    finally:
        if is_ours:
            spark.stop()


def _expected() -> tuple[type[Exception], ...]:
    from pipelines.bronze import BronzeError
    from pipelines.checkpoint import CheckpointUnfit
    from pipelines.delta import SecondWriter
    from pipelines.delta_log import LogDamaged
    from pipelines.healing import HealError
    from pipelines.quarantine import TruncateRefused
    from pipelines.registry import RegistryUnavailable
    from pipelines.session import JarsMissing

    return (
        BronzeError, CheckpointUnfit, SecondWriter, LogDamaged, HealError, TruncateRefused,
        RegistryUnavailable, JarsMissing,
    )  # fmt: skip
