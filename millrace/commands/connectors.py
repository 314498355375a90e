"""`millrace connectors`: the Debezium connector, its snapshots, and recovery after a lost slot."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from millrace.progress import bar
from millrace.stack.errors import StackError
from millrace.stack.starting import register_connector

if TYPE_CHECKING:
    from connectors.snapshotting import Step

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


@app.command()
def snapshot(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables (schema.table) or entities.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every captured table.")] = False,
    within_s: Annotated[int, typer.Option(help="Follow it for so many seconds.")] = 3600,
) -> None:
    """Read tables again while the stream goes on; safe at any time, and goes on by itself.

    What is read again changes nothing that is right: a row of the stream always wins over it.
    """
    from connectors import snapshotting
    from connectors.register import ConnectorError
    from schemas import contract

    env = addresses("postgres", "kafka", "registry", "connect")
    known = {c.entity: c.source for c in contract.load_all()}
    wanted = list(known.values()) if every else [known.get(t, t) for t in tables or ()]
    unknown = sorted(set(wanted) - set(known.values()))
    if unknown or not wanted:
        raise typer.BadParameter(f"not captured: {', '.join(unknown)}" if unknown else "which?")
    with _steps() as steps:
        try:
            read = snapshotting.snapshot(
                oltp_dsn=env["MILLRACE_OLTP_ADMIN_DSN"],
                kafka=env["MILLRACE_KAFKA"],
                registry_url=env["MILLRACE_REGISTRY"],
                tables=wanted,
                within_s=within_s,
                progress=steps,
            )
        except ConnectorError as error:
            raise StackError(str(error)) from error
    typer.echo(f"{sum(read.values()):,} rows of {len(read)} tables were read again")


@app.command()
def recover(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option(help="Although no break is open.")] = False,
    tick: Annotated[bool, typer.Option(help="Run a tick at the end.")] = True,
) -> None:
    """Make capture whole again after a slot was lost, dropped, moved, or the primary replaced.

    Stops the connector, gives it a new slot, reads every table again beside the stream, and makes
    good the deletes that nobody captured. May be interrupted and repeated.
    """
    from connectors.register import ConnectorError
    from orchestration import capture_looks, recovering
    from orchestration.settings import Settings
    from pipelines.capture import guarding

    addresses("postgres", "kafka", "registry", "connect")
    settings = Settings()
    found = capture_looks.look(settings)
    for each in found.breaks:
        typer.echo(f"broken: {guarding.explained(each)}")
    if not found.breaks and not force:
        typer.echo("no break is open: there is nothing to recover from (--force does it anyway)")
        return
    if not yes:
        typer.confirm("Give the connector a new slot and read every table again?", abort=True)
    with _steps() as steps:
        try:
            done = recovering.recover(settings, _spark, typer.echo, steps)
        except ConnectorError as error:
            raise StackError(str(error)) from error
    for entity, rows in sorted(done.kept_out.items()):
        typer.echo(f"{entity}: {rows} rows of the snapshot are in quarantine (millrace quarantine)")
    if tick:
        from orchestration.run import refresh

        outcome = refresh(typer.echo)
        if not outcome.success or not outcome.is_exact:
            raise StackError("the tick after it is not exact: " + "; ".join(outcome.errors))
    typer.echo("recovered; prove it: millrace certify --full")


def _spark() -> Any:
    from pipelines import session
    from pipelines.settings import Settings

    return session.build(Settings())  # type: ignore[call-arg]


@contextmanager
def _steps() -> Iterator[Callable[["Step"], None]]:
    """A bar of tables read, and a line for each in what is no terminal."""
    console = Console(stderr=True, highlight=False)
    with bar(console) as shown:
        task = shown.add_task("reading again", total=None)

        def note(step: "Step") -> None:
            shown.update(
                task, completed=step.tables_read, total=step.tables, description=step.table
            )
            if step.is_read and not console.is_terminal:
                rows = f"{step.rows or 0:,} rows"
                console.print(f"{step.tables_read} of {step.tables}: {step.table}, {rows}")

        yield note
