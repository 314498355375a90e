"""`millrace migrate`: bring the databases up to date."""

import typer

from millrace.current import addresses


def migrate() -> None:
    """Create the databases, apply pending migrations, set the roles' passwords. Idempotent."""
    from millrace.stack import databases

    env = addresses("postgres")
    applied = databases.settle(env["MILLRACE_OLTP_ADMIN_DSN"], env)
    for line in applied:
        typer.echo(f"applied {line}")
    if not applied:
        typer.echo("up to date")
