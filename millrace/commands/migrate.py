"""`millrace migrate`: bring the databases up to date."""

import typer

from millrace.current import running


def migrate() -> None:
    """Create the databases, apply pending migrations, set the roles' passwords. Idempotent."""
    from millrace.stack import databases

    stack = running("postgres")
    applied = databases.settle(stack.env["MILLRACE_OLTP_ADMIN_DSN"], stack.secrets)
    for line in applied:
        typer.echo(f"applied {line}")
    if not applied:
        typer.echo("up to date")
