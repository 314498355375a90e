"""`millrace certify`: the proof that the lake and the warehouse hold what the source committed."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace import lakehouse
from millrace.progress import bar
from orchestration.settings import Settings
from pipelines.certificate import ledger
from pipelines.certificate.comparing import Verdict
from pipelines.certificate.drilling import lsn_text
from pipelines.certificate.ledger import Line

# What a shell says of a command that was interrupted.
INTERRUPTED = 130
HOPS = ("source", "bronze", "silver", "current", "warehouse")


def certify(
    full: Annotated[
        bool, typer.Option("--full", help="Compare whole tables now, not only what is new.")
    ] = False,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Only this one (more than once).")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also tables without changes in the last window.")
    ] = False,
) -> None:
    """Every table, hop by hop, and how far it is complete. Exit 1: a break is open, or no proof."""
    compared = _compare(table or []) if full else None
    dsn = Settings().warehouse_dsn
    try:
        found = compared or ledger.last_window(dsn)
    except psycopg.OperationalError:
        lakehouse.refuse("the warehouse does not answer: is the stack up? (`millrace up`)")
    if found is None:
        lakehouse.refuse("nothing is certified yet: a tick does it (`millrace demo` runs some)")
    cut_id, taken_at, seconds, lines = found
    wanted = [line for line in lines if not table or line.entity in table]
    shown = [line for line in wanted if every or table or line.breaks or line.hops]
    console = Console()
    console.width = max(console.width, 140)
    console.print(_drawn(shown))
    breaks = [one for line in wanted for one in line.breaks]
    for one in breaks:
        console.print(f"BREAK {one}", style="bold red", highlight=False, soft_wrap=True)
    proven = [line for line in wanted if line.cut_id is not None and not line.breaks]
    typer.echo(
        f"cut {cut_id}, taken {taken_at:%Y-%m-%d %H:%M:%S} UTC: {len(proven)} of {len(wanted)}"
        f" tables are proven, {len(breaks)} breaks; it cost {seconds:.1f} s"
    )
    if breaks or len(proven) < len(wanted) or not wanted:
        raise typer.Exit(1)


def _compare(names: list[str]) -> tuple[int, datetime, float, list[Line]]:
    from orchestration import whole

    chosen = [lakehouse.entity(name) for name in names]
    console = Console(stderr=True, highlight=False)
    with lakehouse.opened("certify") as lake, bar(console) as work:
        # Spark's own handler talks to Spark, also in the middle of an answer. The run ends jobs.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        task = work.add_task("comparing", total=len(chosen) or None)
        found: list[Verdict] = []

        def tell(verdict: Verdict, tables: int) -> None:
            found.append(verdict)
            line = _told(verdict)
            work.update(task, completed=len(found), total=tables, description=line)
            if not console.is_terminal or not verdict.holds:
                console.print(line, style=None if verdict.holds else "bold red", soft_wrap=True)

        try:
            done = whole.certify(lake.settings, lake.spark, lake.schemas(), chosen, tell)
        except KeyboardInterrupt:
            work.stop()
            console.print(f"stopped: the verdicts of {len(found)} tables are kept")
            raise typer.Exit(INTERRUPTED) from None
    lines = ledger.lines_at(lake.settings.warehouse_dsn, done.cut_id)
    return done.cut_id, done.taken_at, done.seconds, lines


def _told(verdict: Verdict) -> str:
    rows = verdict.hops["source"].changes if "source" in verdict.hops else 0
    wrong = [one for one in verdict.breaks if not one.is_lawful]
    return f"{verdict.entity}: {rows:,} rows, {f'{len(wrong)} BREAKS' if wrong else 'agree'}"


def _drawn(lines: list[Line]) -> Table:
    """The figures of every hop; a hop that differs from the one before is marked."""
    drawn = Table("table", title="Certificate")
    for hop in HOPS:
        drawn.add_column(hop, justify="right")
    for name in ("twice", "kept out"):
        drawn.add_column(name, justify="right")
    drawn.add_column("complete through")
    for line in lines:
        counts = [f"{line.hops[hop][0]:,}" if hop in line.hops else "-" for hop in HOPS]
        _, _, duplicates, quarantined, _ = line.hops.get("bronze", (0, 0, 0, 0, 0))
        through = (
            f"{lsn_text(line.lsn)} {line.taken_at:%Y-%m-%d %H:%M:%S}"
            if line.lsn is not None and line.taken_at
            else "nowhere"
        )
        drawn.add_row(
            line.entity,
            *counts,
            f"{duplicates:,}",
            f"{quarantined:,}",
            through,
            style="bold red" if line.breaks else None,
        )
    return drawn
