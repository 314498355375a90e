"""`millrace simulate`: a made-up lender and live traffic on the running stack."""

from __future__ import annotations

import math
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from oltp import settings
from oltp.simulator import Answers, Summary, seed, traffic


def simulate(
    customers: Annotated[int, typer.Option(help="Customers to have; 0 adds none", min=0)] = 200,
    rate: Annotated[float, typer.Option(help="Authorizations a second", min=0.1)] = 20.0,
    seconds: Annotated[float, typer.Option(help="How long; 0 only seeds", min=0)] = 10.0,
    seed_: Annotated[int, typer.Option("--seed", help="The same seed, the same lender")] = 7,
    topic_share: Annotated[
        float, typer.Option(help="Share that goes through Kafka", min=0, max=1)
    ] = 0.3,
) -> None:
    """Fill the operational tables, then send authorizations and change rows meanwhile."""
    console = Console(soft_wrap=True)
    try:
        found = settings.read("gateway", "kafka", "registry") if seconds else settings.read()
        if customers:
            seeded = seed(found.oltp_dsn, customers, seed_)
            new = ", ".join(f"{n} {table}" for table, n in seeded.added.items() if n)
            console.print(f"new rows: {new or 'none, all of them were there'}", highlight=False)
        if seconds:
            pace = {"rate": rate, "seconds": seconds, "topic_share": topic_share}
            show(console, run(console, found, seed_, pace))
    except (settings.MissingError, LookupError, OSError, psycopg.OperationalError) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None


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
