"""`millrace demo`: the whole path on this machine, from loaded data to a tie-out on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from millrace.current import stack

# What a page of the closing screen needs when nobody's terminal says how wide it is.
WIDTH_WITHOUT_TERMINAL = 120


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop everything afterwards; exit 0 if all ties out.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="MILLRACE_DATA",
            help="Folder with the Berka files; default: shared/data beside the checkout.",
        ),
    ] = None,
    customers: Annotated[int, typer.Option(min=10, help="Simulated customers.")] = 200,
    rate: Annotated[float, typer.Option(min=1, help="Authorizations a second.")] = 40.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long the traffic lasts.")] = 15.0,
    seed: Annotated[int, typer.Option(help="Same seed, same lender.")] = 7,
) -> None:
    """Start everything, load data, decide live traffic, run the pipeline, show what happened.

    Exit code 1, with the reason, when anything differs from what it should be.
    """
    # Here, not above: Dagster takes seconds to import, and --help should not.
    from millrace.demo.screen import show
    from millrace.demo.steps import Run, Wishes

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    running = stack()
    wishes = Wishes(data=data, customers=customers, seed=seed, rate=rate, seconds=seconds)
    try:
        report = Run(running, wishes, console).show()
        show(console, report)
    finally:
        if once:
            console.print("Stopping everything")
            running.down()
    if not once:
        console.print("Everything stays up: `make down` stops it.")
    if report.problems:
        raise typer.Exit(1)
