"""`millrace import`: bring another system's data in through the operational tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from oltp import settings
from oltp.berka import files, load, location

app = typer.Typer(no_args_is_help=True, help="Load another system's data.")


@app.callback()
def _group() -> None:
    """Load another system's data."""


@app.command()
def berka(
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="MILLRACE_DATA",
            help="Folder with the .asc files; default: shared/data beside the checkout",
        ),
    ] = None,
) -> None:
    """Load the Berka bank: customers, accounts, cards, loans with schedules, transactions.

    May be broken off and run again: what is there already is left alone.
    """
    folder = location.find(data)
    if folder is None:
        where = data or "shared/data beside the checkout"
        typer.echo(f"No Berka files in {where}: name their folder with --data.", err=True)
        raise typer.Exit(1)
    try:
        report = show_progress(folder, settings.read().oltp_dsn)
    except (files.FileError, settings.MissingError, psycopg.OperationalError) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None
    show(report)


def show_progress(folder: Path, dsn: str) -> load.Report:
    """Load with one bar; quiet when there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("reading", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        return load.run(dsn, folder, progress)


def show(report: load.Report) -> None:
    """What came in, and each row that did not."""
    console = Console(soft_wrap=True)
    table = Table("table", "rows", "new", title="Berka bank")
    for name, rows in report.read.items():
        table.add_row(name, f"{rows:,}", f"{report.added[name]:,}")
    console.print(table)
    for rejection in report.rejections:
        console.print(f"left out: {rejection}", markup=False, highlight=False)
    if report.observed_through:
        console.print(f"payments are known through {report.observed_through}")
