"""`millrace connectors`: the Debezium connector."""

import json
import urllib.request

import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from millrace.stack.starting import register_connector

app = typer.Typer(help="Change capture: the Debezium connector.", no_args_is_help=True)


@app.command()
def apply() -> None:
    """Register the connector, or bring its configuration up to date. Idempotent."""
    env = addresses("postgres", "kafka", "registry", "connect")
    typer.echo(register_connector(env))


@app.command()
def status() -> None:
    """State of each connector and of its tasks."""
    env = addresses("connect")
    url = f"{env['MILLRACE_CONNECT']}/connectors?expand=status"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        connectors = json.load(answer)
    table = Table("connector", "state", "task", "task state", "reason", box=None)
    for name, entry in sorted(connectors.items()):
        state = entry["status"]["connector"]["state"]
        for task in entry["status"]["tasks"] or [{}]:
            reason = str(task.get("trace", "")).partition("\n")[0]
            cells = (str(task.get("id", "-")), task.get("state", "-"), reason)
            table.add_row(name, state, *cells)
    Console(highlight=False).print(table if connectors else "no connector is registered")
    tasks = [task["state"] for entry in connectors.values() for task in entry["status"]["tasks"]]
    if not tasks or any(state != "RUNNING" for state in tasks):
        raise typer.Exit(1)
