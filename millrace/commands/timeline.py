"""`millrace timeline`: an application as its events tell it, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from millrace import lakehouse

# Beside the time and the event; the payload's own fields that tell the story.
TOLD = ("decision", "reasons", "outcome", "amount_minor", "currency", "apr", "reason")


def timeline(
    application: Annotated[str, typer.Argument(help="UUID of the application")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs, with payloads")] = False,
) -> None:
    """Show what happened to an application, rebuilt from its events alone."""
    from pipelines.projections import reader

    try:
        found = reader.timeline(lakehouse.folder(), application.strip().lower())
    except reader.NoTimeline as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if as_json:
        told = {"state": found.state, "steps": found.steps, "through": found.complete_through}
        typer.echo(json.dumps(told, indent=1, default=str))
        return
    console = Console(highlight=False)
    console.width = max(console.width, 130)
    console.print(_drawn(application, found.state, found.steps))
    console.print(_ending(found.state, found.complete_through))


def _drawn(application: str, state: Mapping[str, Any], steps: Any) -> Table:
    drawn = Table(title=f"Application {application}: [bold]{state['status']}[/]")
    drawn.add_column("", justify="right")
    drawn.add_column("when (UTC)")
    for name in ("event", "of", "status after", "told"):
        drawn.add_column(name)
    for step in steps:
        of = "" if step["aggregate_id"] == step["application_id"] else step["aggregate_id"][:8]
        payload = json.loads(step["payload"])
        told = ", ".join(f"{n} {payload[n]}" for n in TOLD if payload.get(n) not in (None, []))
        drawn.add_row(
            str(step["position"]), _when(step["occurred_at"]),
            step["event"].removeprefix("credit."), of, step["status"] or "-",
            f"[yellow]{step['remark']}[/]" if step["remark"] else told,
        )  # fmt: skip
    return drawn


def _ending(state: Mapping[str, Any], through: datetime | None) -> str:
    words = [f"{state['events']} events, {state['offers']} offers"]
    if state["credit_id"]:
        words.append(f"credit {state['credit_id']} {state['credit_state']}")
    if not state["is_complete"]:
        words.append("its submission was never announced")
    if through:
        words.append(f"complete through {_when(through)}")
    return "; ".join(words)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
