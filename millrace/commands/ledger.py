"""`millrace ledger`: prove the ledger, show its balances, reconcile it with printed statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from millrace.progress import bar
from oltp.ledger.controls import CONTROLS, check

app = typer.Typer(no_args_is_help=True, help="Prove the ledger, show it, reconcile it.")
TRIAL_BALANCE = """
    select currency, layer, kind, accounts, debit_minor, credit_minor, balance_minor
    from ledger.trial_balance order by currency, layer desc, kind
"""
RUN = """
    select account_days, broken from ledger.reconciliation_runs where reconciliation_run_id = %s
"""
BREAKS = """
    select statement_date, account_id, currency, computed_minor, nearest_printed_minor,
        difference_minor, state, coalesce(owner, '-'), now()::date - first_seen_at::date,
        coalesce(explanation, '-')
    from ledger.reconciliation_breaks where state <> 'RESOLVED'
    order by statement_date, account_id limit %s
"""


@app.callback()
def _group() -> None:
    """Prove the ledger, show it, reconcile it."""


@app.command("check")
def check_(
    details: Annotated[bool, typer.Option("--details", help="Show the first of each")] = True,
) -> None:
    """Run every control over one snapshot. Exit code 1 when any of them finds something."""
    console = Console()
    with _database() as connection, bar(console) as progress:
        connection.execute("set transaction isolation level repeatable read read only")
        task = progress.add_task("controls", total=len(CONTROLS))
        findings = []
        for finding in check(connection):
            findings.append(finding)
            progress.update(task, advance=1, description=finding.control)
    table = Table("Control", "Invariant", "Promise", "Found")
    for finding in findings:
        colour = "red" if finding.count else "green"
        table.add_row(
            finding.control, finding.invariant, finding.promise, f"[{colour}]{finding.count:,}[/]"
        )
    console.print(table)
    broken = [finding for finding in findings if finding.count]
    for finding in broken if details else ():
        for subject, problem in finding.sample:
            typer.echo(f"{finding.control}: {subject}: {problem}")
    if broken:
        raise typer.Exit(1)


@app.command()
def balances() -> None:
    """Show debits, credits and balance of each kind of account, in minor units, per currency."""
    with _database() as connection:
        rows = connection.execute(TRIAL_BALANCE).fetchall()
    table = Table("Currency", "Layer", "Kind")
    for heading in ("Accounts", "Debits", "Credits", "Balance"):
        table.add_column(heading, justify="right")
    last = None
    for row in rows:
        table.add_section() if last and last != row[:2] else None
        last = row[:2]
        table.add_row(*row[:3], *(f"{number:,}" for number in row[3:]))
    Console().print(table)


@app.command()
def reconcile(
    tolerance: Annotated[int, typer.Option(help="Minor units that may differ", min=0)] = 100,
    show: Annotated[int, typer.Option(help="Breaks to show", min=0)] = 30,
) -> None:
    """Compare the ledger with printed statements and keep what differs until it is explained.

    Exit code 1 when a break is open.
    """
    console = Console()
    with _database() as connection, console.status("comparing account-days"):
        (run,) = connection.execute("select ledger.reconcile(%s)", (tolerance,)).fetchall()
        ((days, broken),) = connection.execute(RUN, run).fetchall()
        rows = connection.execute(BREAKS, (show,)).fetchall()
    if rows:
        table = Table("Day", "Account", "Currency", "Computed", "Printed", "Difference", "State",
                      "Owner", "Age, days", "Explanation")  # fmt: skip
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)
    typer.echo(f"{days - broken:,} of {days:,} account-days agree, {broken:,} do not")
    if any(row[6] == "OPEN" for row in rows):
        raise typer.Exit(1)


@contextmanager
def _database() -> Iterator[psycopg.Connection]:
    """A connection as the application; a message instead of a trace when there is none."""
    try:
        with psycopg.connect(addresses("postgres")["MILLRACE_OLTP_DSN"]) as connection:
            yield connection
    except psycopg.OperationalError:
        typer.echo("The database does not answer: is the stack up? (`millrace up`)", err=True)
        raise typer.Exit(1) from None
