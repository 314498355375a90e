"""`millrace pii`: open, find and re-key personal data; what is opened is audited first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from millrace.current import addresses
from oltp import settings
from oltp.privacy import PrivacyError, Vault, reading, rotation
from oltp.privacy.person import SEALED

app = typer.Typer(no_args_is_help=True, help="Open, find and re-key personal data.")


@app.callback()
def _group() -> None:
    """Open, find and re-key personal data."""


@app.command()
def show(
    customer: Annotated[UUID, typer.Argument(help="The customer's id")],
    reason: Annotated[str, typer.Option(help="Why; it is written to the audit first")],
    field: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(SEALED)}; default all")
    ] = None,
) -> None:
    """A customer's values in plain."""
    with _failing_plainly():
        found = settings.read("pii_reader_dsn", "pii_keys", "pii_index_key")
        values = reading.open_person(
            found.pii_reader_dsn.get_secret_value(),
            Vault.from_settings(found),
            customer,
            field or list(SEALED),
            reason,
        )
    for name, value in values.items():
        typer.echo(f"{name}\t{value if value is not None else '-'}")


@app.command()
def find(
    national_id: Annotated[str | None, typer.Option(help="However it is punctuated")] = None,
    email: Annotated[str | None, typer.Option(help="In any letter case")] = None,
    phone: Annotated[str | None, typer.Option(help="With the country's prefix")] = None,
) -> None:
    """Customers with exactly this value; nothing is opened."""
    given = {"national_id": national_id, "email": email, "phone": phone}
    wanted = [(name, value) for name, value in given.items() if value is not None]
    if len(wanted) != 1:
        typer.echo("Give one of --national-id, --email, --phone.", err=True)
        raise typer.Exit(2)
    with _failing_plainly():
        found = settings.read("pii_keys", "pii_index_key")
        rows = reading.find(found.oltp_dsn, Vault.from_settings(found), *wanted[0])
    table = Table("customer", "status", "email", "phone")
    for row in rows:
        table.add_row(*map(str, row))
    Console(soft_wrap=True).print(table if rows else "nobody")
    if not rows:
        raise typer.Exit(1)


@app.command()
def rotate(
    index: Annotated[
        bool, typer.Option("--index", help="Compute the blind indexes anew instead")
    ] = False,
) -> None:
    """Wrap every customer's key by the last of MILLRACE_PII_KEYS; may be broken off."""
    with _failing_plainly():
        found = settings.read("pii_keys", "pii_index_key")
        vault = Vault.from_settings(found)
        admin = addresses("postgres")["MILLRACE_OLTP_ADMIN_DSN"]
        with _bar("indexes" if index else "keys") as progress:
            work = rotation.reindex if index else rotation.rewrap
            changed = work(admin, vault, progress)
    if index:
        typer.echo(f"{changed} customers have new indexes")
    else:
        typer.echo(
            f"{changed} keys wrapped by version {vault.current_version}; older ones may go now"
        )


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """One bar; quiet when there is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def _failing_plainly() -> Iterator[None]:
    try:
        yield
    except (PrivacyError, settings.MissingError, psycopg.Error) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None
