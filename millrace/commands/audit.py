"""`millrace audit`: chain, sign, verify and read who changed what."""

from __future__ import annotations

import signal
import sys
from threading import Event
from typing import Annotated, NoReturn

import psycopg
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from oltp.audit import Book, CheckpointError, Report, canonical, checkpoints, seal, verify
from oltp.audit.following import follow
from oltp.audit.settings import Settings
from oltp.audit.showing import changes

app = typer.Typer(help="The audit: who changed what, and the proof.", no_args_is_help=True)


@app.command("seal")
def seal_(
    follow_: Annotated[
        bool, typer.Option("--follow", help="Go on until SIGTERM, then stop cleanly.")
    ] = False,
    every_s: Annotated[float, typer.Option(help="Pause between two looks.", min=0.05)] = 1.0,
    checkpoint_every_s: Annotated[
        float, typer.Option(help="How often the head is signed, at most.", min=0)
    ] = 60.0,
) -> None:
    """Chain the changes of finished transactions; with --follow also sign checkpoints."""
    settings = Settings()
    dsn = _needed(settings.audit_sealer_dsn, "MILLRACE_AUDIT_SEALER_DSN")
    try:
        if not follow_:
            with canonical.connect(dsn) as connection:
                typer.echo(f"sealed {seal(connection)} changes")
            return
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        follow(
            dsn,
            _book(settings) if settings.audit_checkpoints else None,
            stop,
            every_s=every_s,
            checkpoint_every_s=checkpoint_every_s,
            say=lambda line: print(line, flush=True),
        )
    except (CheckpointError, OSError, psycopg.Error) as error:
        _fail(error)


@app.command()
def checkpoint() -> None:
    """Sign the chain's head into the checkpoint file, if it is not there yet."""
    settings = Settings()
    try:
        with canonical.connect(
            _needed(settings.audit_sealer_dsn, "MILLRACE_AUDIT_SEALER_DSN")
        ) as connection:
            made = _book(settings).sign(connection)
    except (CheckpointError, OSError, psycopg.Error) as error:
        _fail(error)
    typer.echo(f"signed {made.count} entries, head {made.head}" if made else "nothing new to sign")


@app.command("verify")
def verify_(
    backlog_s: Annotated[
        float, typer.Option(help="Changes that wait longer than this to be sealed are a finding.")
    ] = 3600.0,
) -> None:
    """Recompute the whole chain, compare the signed checkpoints. Exit 1: something was found."""
    settings = Settings()
    path = settings.audit_checkpoints
    if path is None:
        _fail("MILLRACE_AUDIT_CHECKPOINTS is not set")
    console = Console(soft_wrap=True, highlight=False)
    try:
        stored = checkpoints.load(path)
        key = checkpoints.public_key(path, settings.audit_public_key) if stored else None
        dsn = _needed(settings.auditor_dsn, "MILLRACE_AUDITOR_DSN")
        with (
            canonical.connect(dsn) as connection,
            Progress(console=console, disable=not console.is_terminal) as bars,
        ):
            bar = bars.add_task("entries", total=None)
            report = verify(
                connection, stored, key, backlog_s=backlog_s,
                progress=lambda done, total: bars.update(bar, completed=done, total=total),
            )  # fmt: skip
    except (CheckpointError, OSError, psycopg.Error) as error:
        _fail(error)
    _tell(console, report)
    if report.findings:
        raise typer.Exit(1)


@app.command()
def show(
    table: Annotated[str | None, typer.Option(help="Only this table: schema.table.")] = None,
    key: Annotated[str | None, typer.Option(help="Only the row with this key value.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only this actor's.")] = None,
    most: Annotated[int, typer.Option("--most", help="How many, newest first.", min=1)] = 20,
) -> None:
    """The newest changes: when, who, what and why."""
    settings = Settings()
    dsn = _needed(settings.auditor_dsn, "MILLRACE_AUDITOR_DSN")
    try:
        with canonical.connect(dsn) as connection:
            found = changes(connection, table=table, key=key, actor=actor, most=most)
    except psycopg.Error as error:
        _fail(error)
    shown = Table("change", "seq", "when (UTC)", "who", "what", "row", "changed", "why")
    for line in found:
        shown.add_row(*line)
    Console().print(shown)


def _tell(console: Console, report: Report) -> None:
    if report.findings:
        table = Table(
            "entry", "change", "what", "detail", title="Found, the first broken one first"
        )
        for found in report.findings:
            table.add_row(
                str(found.seq or ""), str(found.change_id or ""), found.kind, found.detail
            )
        console.print(table)
    console.print(
        f"{report.entries} entries, {report.checkpoints} checkpoints, head"
        f" {report.head.hex()[:16]};"
        f" {report.waiting} changes wait to be sealed, the oldest for"
        f" {report.oldest_waiting_s:.0f} s: {'NOT INTACT' if report.findings else 'intact'}"
    )


def _book(settings: Settings) -> Book:
    if settings.audit_checkpoints is None:
        raise CheckpointError("MILLRACE_AUDIT_CHECKPOINTS is not set")
    return Book(settings.audit_checkpoints, _needed(settings.audit_key, "MILLRACE_AUDIT_KEY"))


def _needed(value: SecretStr, variable: str) -> str:
    if not value.get_secret_value():
        _fail(f"{variable} is not set: run `millrace up` first")
    return value.get_secret_value()


def _fail(error: object) -> NoReturn:
    print(str(error).strip(), file=sys.stderr)
    raise typer.Exit(1) from None
