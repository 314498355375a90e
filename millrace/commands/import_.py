"""`millrace import MAPPING FILES...`: another system's data, through the operational tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from oltp import importing, privacy, settings
from oltp.importing import runs
from oltp.importing.files import plain
from oltp.importing.location import find

REPORT = "report"
SHOWN = 50
INTERRUPTED = 130
# Where there is no terminal, nothing needs to be folded.
WIDE = 140


def import_(
    mapping: Annotated[
        str, typer.Argument(help="A shipped mapping, a mapping's path, or `report`")
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files or folders; of `report`: a run's id or its beginning"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, write nothing")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(envvar="MILLRACE_DATA", help="Where berka and ofac are, without FILES"),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show every row that was left out")] = False,
) -> None:
    """Import files as a mapping says: `millrace import berka FOLDER`, `millrace import report`.

    Every row is checked before one is written. May be broken off and run again: what is there
    already is left alone. How to write a mapping: oltp/mappings/README.md.
    """
    try:
        if mapping == REPORT:
            _report(files or [], all_)
        else:
            places = [Path(name) for name in files or []]
            if not places and (folder := find(mapping, data)):
                places = [folder]
            if not places:
                raise importing.FileError(f"name the files of {mapping}, or their folder")
            show(_import(mapping, places, dry_run), dry_run, all_)
    except KeyboardInterrupt:
        typer.echo("Stopped. Run the same import again: it goes on where it was.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, privacy.PrivacyError, psycopg.Error) as error:
        typer.echo(plain_lines(str(error).strip()), err=True)
        raise typer.Exit(1) from None


def plain_lines(text: str) -> str:
    """A message of several lines without control characters of the data."""
    return "\n".join(map(plain, text.splitlines()))


def _import(mapping: str, places: list[Path], dry_run: bool) -> importing.Report:
    found = settings.read()
    return show_progress(
        mapping, places, found.oltp_dsn, lambda: privacy.Vault.from_settings(found), dry_run
    )


def show_progress(
    mapping: str, places: list[Path], dsn: str, vault: Any, dry_run: bool = False
) -> importing.Report:
    """Import with one bar; quiet when there is no terminal."""
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

        return importing.run(dsn, mapping, places, vault, progress, dry_run)


def show(report: importing.Report, dry_run: bool = False, all_: bool = False) -> None:
    """What came in, and each row that did not."""
    console = Console(soft_wrap=True)
    if dry_run:
        console.print(
            f"{report.mapping}: {report.rows_read:,} rows read, {len(report.rejections):,} would be"
            " left out; nothing was written",
            highlight=False,
        )
    else:
        table = Table("table", "rows", "new", title=report.mapping)
        for name, rows in report.rows.items():
            table.add_row(name, f"{rows:,}", f"{report.added[name]:,}")
        console.print(table)
        console.print(
            f"{report.rows_read:,} rows read: {report.rows_taken:,} taken,"
            f" {report.rows_known:,} already there, {len(report.rejections):,} left out",
            highlight=False,
        )
    for rejection in report.rejections if all_ else report.rejections[:SHOWN]:
        console.print(f"left out: {plain(str(rejection))}", markup=False, highlight=False)
    left = 0 if all_ else len(report.rejections) - SHOWN
    if left > 0:
        console.print(f"... and {left:,} more: --all shows them", highlight=False)
    if report.run_id:
        console.print(f"run {report.run_id}: `millrace import report` shows it", highlight=False)


def _report(wanted: list[str], all_: bool) -> None:
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(soft_wrap=True, width=WIDE)
    with psycopg.connect(settings.read().oltp_dsn, autocommit=True) as connection:
        if not wanted:
            console.print(_table(runs.last(connection)))
            return
        run = runs.find(connection, wanted[0])
        if run is None:
            raise ValueError(f"there is no one run whose id begins with {wanted[0]}")
        console.print(_table([run]))
        if run["error"]:
            console.print(f"error: {plain(run['error'])}", markup=False)
        limit = run["rows_rejected"] if all_ else SHOWN
        found = runs.rejections(connection, run["import_run_id"], max(limit, SHOWN))
        for row in found:
            console.print(f"left out: {plain(row['message'])}", markup=False, highlight=False)
        if run["rows_rejected"] > len(found):
            left = run["rows_rejected"] - len(found)
            console.print(f"... and {left:,} more: --all shows them", highlight=False)


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table("run", "mapping", "status", "begun", "read", "taken", "there", "left out")
    for run in found:
        counts = [f"{run[f'rows_{name}']:,}" for name in ("read", "taken", "known", "rejected")]
        begun = f"{run['started_at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(run["import_run_id"])[:8], run["mapping"], run["status"], begun, *counts)
    return table
