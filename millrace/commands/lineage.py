"""`millrace lineage`: the way back from a table or column to the columns it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.tree import Tree

from millrace.settings import Settings
from orchestration import lineage_graph
from orchestration.lineage_graph import Origin


def lineage(
    name: Annotated[
        str, typer.Argument(help="TABLE or TABLE.COLUMN, for example gold_credit.mart_x.column")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the tree as JSON")] = False,
) -> None:
    """Show where a table or column comes from, back to the operational database."""
    store = Settings().home / "lineage" / "events.jsonl"
    origin = way_back(store, name)
    if as_json:
        typer.echo(json.dumps(origin.as_json(), indent=2))
        return
    console = Console()
    # Names are worth more than the margin: a pipe, and a narrow terminal, get whole lines.
    console.width = max(console.width, 200)
    console.print(_tree(origin))


def way_back(store: Path, name: str) -> Origin:
    """The tree of one name; leaves the program with the reason when there is none."""
    graph = lineage_graph.read(store)
    if not graph.known:
        typer.echo(
            f"No lineage has been recorded yet in {store}: run `millrace demo` first.", err=True
        )
        raise typer.Exit(1)
    try:
        return graph.way_back(name)
    except lineage_graph.UnknownNameError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _tree(origin: Origin, tree: Tree | None = None) -> Tree:
    label = f"[bold]{_short(origin)}[/]" + (f"  [dim]by {origin.job}[/]" if origin.job else "")
    branch = tree.add(label) if tree is not None else Tree(label)
    for source in origin.sources:
        _tree(source, branch)
    return branch


def _short(origin: Origin) -> str:
    """A name that says where the thing is and fits on a line."""
    kind, _, _ = origin.dataset.namespace.partition(":")
    name = origin.dataset.name
    if kind == "file":
        name = "/".join(Path(name).parts[-3:]) if name.endswith("current") else _tail(name)
        kind = "delta"
    return f"{kind} {name}" + (f"[cyan].{origin.column}[/]" if origin.column else "")


def _tail(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
