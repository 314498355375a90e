"""`millrace reconcile`: positions, ledger and clearing files; what differs, and whose it is."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from oltp.reconciling.settlement import Break, assign, breaks, compare

HOUR_S = 3_600
DAY_S = 86_400


def reconcile(
    owner: Annotated[
        str | None, typer.Option(help="Show this owner's breaks; with --assign, who it is to be")
    ] = None,
    assign_: Annotated[
        UUID | None, typer.Option("--assign", help="Give this break to --owner", metavar="BREAK")
    ] = None,
    because: Annotated[
        str | None, typer.Option(help="With --assign: where the break comes from")
    ] = None,
    show: Annotated[int, typer.Option(help="Breaks to show", min=0)] = 30,
) -> None:
    """Compare all three in one snapshot and keep what differs until it is explained or gone.

    Exit code 1 when a break is open.
    """
    console = Console()
    if assign_ and not owner:
        raise typer.BadParameter("--assign needs --owner: who is to look after it")
    if because and not assign_:
        raise typer.BadParameter("--because needs --assign: which break it explains")
    dsn = addresses("postgres")["MILLRACE_OLTP_DSN"]
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            if assign_ and owner and not assign(connection, assign_, owner, because):
                typer.echo(f"no break {assign_} is there, or it is gone", err=True)
                raise typer.Exit(1)
            with console.status("comparing positions, ledger and clearing files"):
                compared = compare(connection)
            found = list(breaks(connection, None if assign_ else owner))
    except psycopg.OperationalError:
        typer.echo("The database does not answer: is the stack up? (`millrace up`)", err=True)
        raise typer.Exit(1) from None
    if found:
        console.print(_table(found[:show]))
    typer.echo(
        f"{compared.accounts:,} accounts and {compared.lines:,} lines of clearing files compared,"
        f" {compared.broken:,} breaks"
    )
    if len(found) > show:
        typer.echo(f"{len(found) - show:,} more are not shown: --show {len(found)}")
    if any(one.state == "OPEN" for one in found):
        raise typer.Exit(1)


def _table(found: list[Break]) -> Table:
    table = Table("Kind", "Subject", "Problem")
    for heading in ("File", "Ledger", "Position"):
        table.add_column(heading, justify="right")
    for heading in ("Currency", "Age", "Owner", "State", "Break"):
        table.add_column(heading)
    for one in found:
        amounts = (one.file_minor, one.ledger_minor, one.position_minor)
        table.add_row(
            one.kind, one.subject, one.explanation or one.problem,
            *("-" if amount is None else f"{amount:,}" for amount in amounts),
            one.currency or "-", _age(one.age.total_seconds()), one.owner, one.state, str(one.id),
        )  # fmt: skip
    return table


def _age(seconds: float) -> str:
    if seconds >= DAY_S:
        return f"{seconds / DAY_S:.0f} d"
    return f"{seconds / HOUR_S:.0f} h" if seconds >= HOUR_S else f"{seconds / 60:.0f} min"
