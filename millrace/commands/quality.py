"""`millrace quality`: evaluate the rules that the operational data must obey."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from oltp import quality as rules

app = typer.Typer(help="Quality rules of the operational data.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `run` a subcommand while it is the only one."""


@app.command()
def run(
    only: Annotated[str | None, typer.Option("--rule", help="Only this rule.")] = None,
) -> None:
    """Evaluate the active rules. Exit 1: an ERROR rule does not pass."""
    table = Table("rule", "severity", "table", "rows", "failing", "examples", title="Quality")
    failed = False
    try:
        dsn = addresses("postgres")["MILLRACE_OLTP_ADMIN_DSN"]
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            for result in rules.check(connection, only=only):
                failed = failed or (not result.passed and result.severity == "ERROR")
                examples = result.error or "\n".join(
                    ", ".join(f"{k} {v}" for k, v in sample.items()) for sample in result.samples
                )
                table.add_row(
                    result.rule, result.severity, result.table, str(result.records),
                    str(result.failed), examples or "-",
                )  # fmt: skip
    except (LookupError, psycopg.Error) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None
    Console().print(table)
    if failed:
        raise typer.Exit(1)
