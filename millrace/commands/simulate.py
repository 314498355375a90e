"""`millrace simulate`: years of a made-up lender, then live traffic on the running stack."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from oltp import settings
from oltp.privacy import PrivacyError, Vault
from oltp.simulator import Answers, Seeded, Summary, World, history, traffic


def simulate(
    customers: Annotated[int, typer.Option(help="Customers to have; 0 adds none", min=0)] = 200,
    years: Annotated[float, typer.Option(help="Length of their history", min=0.1)] = 2.0,
    swipes_per_year: Annotated[
        float, typer.Option(help="Authorizations of a card in a year", min=0)
    ] = 30.0,
    until: Annotated[
        str | None, typer.Option(help="Day that history ends before (YYYY-MM-DD); default today")
    ] = None,
    rate: Annotated[float, typer.Option(help="Live authorizations a second", min=0.1)] = 20.0,
    seconds: Annotated[float, typer.Option(help="How long live; 0 only writes history", min=0)] = 0,
    seed_: Annotated[int, typer.Option("--seed", help="The same seed, the same lender")] = 7,
    topic_share: Annotated[
        float, typer.Option(help="Share of the live ones that goes through Kafka", min=0, max=1)
    ] = 0.3,
) -> None:
    """Write a lender's history, then send authorizations and change rows meanwhile.

    The same seed and `--until` give the same rows; customers who are there are left as they are.
    """
    console = Console(soft_wrap=True)
    try:
        day = date.fromisoformat(until) if until else datetime.now(UTC).date()
        found = settings.read(*(("gateway", "kafka", "registry") if seconds else ()))
        if customers:
            world = World(seed_, day, years, swipes_per_year, Vault.from_settings(found))
            show_history(console, write_history(console, found, world, customers))
        if seconds:
            pace = {"rate": rate, "seconds": seconds, "topic_share": topic_share}
            show(console, run(console, found, seed_, pace))
    except (
        settings.MissingError,
        PrivacyError,
        LookupError,
        ValueError,
        OSError,
        psycopg.OperationalError,
    ) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None


def write_history(
    console: Console, found: settings.Settings, world: World, customers: int
) -> Seeded:
    """Write it with a bar, where there is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("customers", total=customers)
        return history(
            found.oltp_dsn,
            world,
            customers,
            lambda what, done, total: bars.update(
                task, description=what, completed=done, total=total
            ),
        )


def show_history(console: Console, seeded: Seeded) -> None:
    """What life produced, by table, and how fast it was written."""
    if not seeded.rows:
        console.print("nothing new: all of these customers were there")
        return
    table = Table("table", "new rows", title="History")
    table.columns[1].justify = "right"
    for name, count in seeded.added.items():
        if count:
            table.add_row(name, f"{count:,}")
    console.print(table)
    speed = f", {seeded.per_second:,.0f} rows a second" if seeded.seconds else ""
    console.print(f"{seeded.rows:,} rows in {seeded.seconds:.1f} s{speed}", highlight=False)


def run(console: Console, found: settings.Settings, seed_: int, pace: dict[str, float]) -> Summary:
    """Send the traffic with a bar, where there is a terminal."""
    with Progress(console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("authorizations", total=None)
        return traffic(
            dsn=found.oltp_dsn,
            gateway=found.gateway,
            kafka=found.kafka,
            registry=found.registry,
            seed=seed_,
            **pace,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )


def show(console: Console, summary: Summary) -> None:
    """Decisions, reasons and latency of each way, and what changed beside them."""
    table = Table("", "asked", "outcomes", "declined for", "p50", "p95", "p99", title="Traffic")
    for answers in (summary.http, summary.topic):
        if answers.asked:
            table.add_row(*_cells(answers))
    console.print(table)
    changes = ", ".join(f"{n} {kind}" for kind, n in summary.changes.most_common())
    console.print(
        f"{summary.asked} requests in {summary.seconds:.1f} s, {summary.repeats} of them repeats;"
        f" beside them {changes or 'no change'}",
        highlight=False,
    )


def _cells(answers: Answers) -> list[str]:
    def lines(counted: dict[str, int]) -> str:
        ordered = sorted(counted.items(), key=lambda item: -item[1])
        return "\n".join(f"{count:>5} {name}" for name, count in ordered)

    latencies = [answers.percentile_ms(share) for share in (0.5, 0.95, 0.99)]
    outcomes = dict(answers.outcomes)
    if answers.unanswered:
        outcomes["no answer"] = answers.unanswered
    return [
        answers.via,
        str(answers.asked),
        lines(outcomes),
        lines(answers.declined_by_reason),
        *("-" if math.isnan(ms) else f"{ms:.0f} ms" for ms in latencies),
    ]
