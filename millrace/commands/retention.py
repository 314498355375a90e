"""`millrace retention`: let go of what has been kept long enough, and show the evidence."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from oltp import retention as policies
from oltp.audit import canonical

app = typer.Typer(help="Retention policies: what is due, and what was done.", no_args_is_help=True)


@app.command()
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    only: Annotated[str | None, typer.Option("--policy", help="Only this policy.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(help="As if it were then (UTC); default is now.")
    ] = None,
    operator: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
) -> None:
    """Enforce the active policies. Exit 1: one of them failed, and was undone."""
    dsn = addresses("postgres")["MILLRACE_OLTP_ADMIN_DSN"]
    table = Table(
        "policy", "table", "does", "due", "on hold", "referred to", "done", "left", "problem",
        title="Retention, dry run" if dry_run else "Retention",
    )  # fmt: skip
    failed = False
    try:
        with canonical.connect(dsn, autocommit=True) as connection:
            for done in policies.enforce(
                connection,
                operator=operator or getpass.getuser(),
                as_of=as_of.replace(tzinfo=UTC) if as_of else None,
                dry_run=dry_run,
                only=only,
            ):
                failed = failed or done.error is not None
                why = ", ".join(f"{n} by {name}" for name, n in (done.referenced_by or {}).items())
                table.add_row(
                    done.policy, done.table, done.strategy, str(done.due), str(done.held),
                    why or "0", str(done.done), "" if done.after is None else str(done.after),
                    done.error or "",
                )  # fmt: skip
    except (LookupError, psycopg.Error) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None
    Console().print(table)
    if failed:
        raise typer.Exit(1)


@app.command()
def show() -> None:
    """The policies, and when each last ran."""
    dsn = addresses("postgres")["MILLRACE_OLTP_ADMIN_DSN"]
    table = Table("policy", "table", "kept for", "from", "then", "because", "last run (UTC)")
    with canonical.connect(dsn) as connection:
        for row in connection.execute(SHOW):
            table.add_row(*(str(x or "-") for x in row))
    Console().print(table)


SHOW = """
select p.name, p.table_schema || '.' || p.table_name, p.period::text,
    coalesce(p.anchor_schema || '.' || p.anchor_table || '.', '') || p.anchor_column,
    p.strategy, p.basis,
    (select to_char(max(r.finished_at), 'YYYY-MM-DD HH24:MI')
        from audit.retention_runs r where r.policy_name = p.name and not r.is_dry_run)
from audit.retention_policies p
where p.is_active
order by p.run_order, p.name
"""
