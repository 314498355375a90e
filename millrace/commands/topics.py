"""`millrace topics`: Kafka's topics as schemas/topics.py declares them."""

import typer

from millrace.current import addresses

app = typer.Typer(help="Kafka topics.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `apply` a subcommand although it is the only one."""


@app.command()
def apply() -> None:
    """Create the declared topics that do not exist yet and register the event schemas."""
    from millrace.stack import declaring

    env = addresses("postgres", "kafka", "registry")
    created = declaring.create_topics(env["MILLRACE_KAFKA"])
    for name in created:
        typer.echo(f"created {name}")
    subjects = declaring.register_schemas(env["MILLRACE_REGISTRY"], env["MILLRACE_OLTP_ADMIN_DSN"])
    typer.echo(f"{len(created)} topics created, {len(subjects)} event schemas registered")
