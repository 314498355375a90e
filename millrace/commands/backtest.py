"""`millrace backtest`: what a version of the rules would have said to the past."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from millrace.rulebook import database, moment, rule_set
from millrace.verdicts import as_document, show
from streams.authorization import backtesting

SPAN_DAYS = 7


def backtest(
    rules: Annotated[
        str, typer.Argument(metavar="RULES", help="A YAML file, or a version that is stored.")
    ],
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", parser=moment, metavar="MOMENT", show_default=False,
            help="First moment, UTC: 2026-11-30T10:00.  [default: 7 days before --to]",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to", parser=moment, metavar="MOMENT", show_default=False,
            help="The moment to end before.  [default: now]",
        ),
    ] = None,
    examples: Annotated[int, typer.Option(help="Changed decisions to show.", min=0)] = 10,
    progress: Annotated[
        bool | None,
        typer.Option("--progress/--no-progress", show_default=False, help="A bar on stderr."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:  # fmt: skip
    """Run a version of the rules over the past, velocity rules included.

    Every decision of the span is judged again by RULES, on the facts that
    were logged and the card's history as it was at that moment, and compared
    with what was decided. A version that was in shadow over the span gave the
    same verdicts. Nothing is written.
    """
    last = until or datetime.now(UTC)
    first = since or last - timedelta(days=SPAN_DAYS)
    console = Console(stderr=True)
    with database() as connection:
        version = rule_set(connection, rules)
        with _bar(console, progress) as bar:
            task = bar.add_task(f"backtest {version.version}", total=None)
            found = backtesting.backtest(
                connection,
                version,
                first,
                last,
                most_examples=examples,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    if as_json:
        span = {"from": first.isoformat(), "to": last.isoformat()}
        typer.echo(json.dumps({**span, **as_document(found)}, indent=2, default=str))
        return
    title = f"{version.version} from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
    show(Console(), found, title=title)


def _bar(console: Console, wanted: bool | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (console.is_terminal if wanted is None else wanted),
    )
