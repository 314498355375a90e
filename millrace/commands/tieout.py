"""`millrace tieout`: the last comparison of every layer with the operational database."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from orchestration import control
from orchestration.settings import Settings
from orchestration.tie_out import LAYERS, Figure


def tieout(
    differences: Annotated[
        bool, typer.Option("--differences", help="Show only figures that differ")
    ] = False,
) -> None:
    """Show the last tie-out; exit code 1 when any figure differs or none was made."""
    try:
        last = control.last_tie_out(Settings().warehouse_dsn)
    except psycopg.OperationalError:
        typer.echo("The warehouse does not answer: is the stack up? (`millrace up`)", err=True)
        raise typer.Exit(1) from None
    if last is None:
        typer.echo("No tie-out has been made yet: run `millrace demo` first.", err=True)
        raise typer.Exit(1)
    cut_id, taken_at, figures = last
    different = [figure for figure in figures if not figure.is_exact]
    console = Console()
    console.width = max(console.width, 120)
    console.print(table(different if differences else figures))
    typer.echo(
        f"cut {cut_id}, taken {taken_at:%Y-%m-%d %H:%M:%S} UTC: {len(figures)} figures, "
        + (f"{len(different)} differ" if different else "all exact")
    )
    if different:
        raise typer.Exit(1)


def table(figures: list[Figure]) -> Table:
    """The figures in every layer; a difference is marked in its row."""
    drawn = Table("entity", "measure", "currency", title="Tie-out")
    for layer in LAYERS:
        drawn.add_column(layer, justify="right")
    drawn.add_column("exact")
    for figure in figures:
        amounts = [_amount(getattr(figure, layer)) for layer in LAYERS]
        mark, style = ("yes", None) if figure.is_exact else ("NO", "bold red")
        named = (figure.entity, figure.measure, figure.currency)
        drawn.add_row(*named, *amounts, mark, style=style)
    return drawn


def _amount(figure: int | None) -> str:
    return "-" if figure is None else f"{figure:,}"
