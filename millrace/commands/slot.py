"""`millrace slot`: the replication slot as the guard judges it, its history, each table's lag."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millrace.stack.errors import StackError
from millrace.watching.screen import sparkline
from orchestration import capture_looks
from orchestration.settings import Settings
from pipelines.capture import guarding, remembering
from pipelines.capture.judging import Facts, lsn
from pipelines.capture.remembering import TableLag
from pipelines.capture.showing import said, size

COLOURS = {"ok": "green", "warning": "yellow", "alarm": "red", "broken": "bold red"}
EXIT = {"ok": 0, "warning": 0, "alarm": 1, "broken": 2}
PLOT_WIDTH = 60
TABLES_SHOWN = 8


def slot(
    tables: Annotated[bool, typer.Option("--tables", help="Show every table's lag.")] = False,
    minutes: Annotated[int, typer.Option(min=1, help="How far back the plot reaches.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Look at the slot now: whose it is, what log it keeps, how far capture is behind.

    Exit code 1 on an alarm, 2 when changes are missing or may be.
    """
    settings = Settings()
    try:
        found = capture_looks.look(settings)
        history = remembering.looks(
            settings.warehouse_dsn, found.facts.slot, timedelta(minutes=minutes)
        )
    except psycopg.OperationalError as error:
        raise StackError(f"Postgres does not answer: is the stack up? {error}") from None
    lags: list[TableLag] = []
    why = ""
    try:
        lags = capture_looks.table_lags(settings, found)
    except Exception as error:  # without Kafka the slot is still worth a look
        why = f"the tables' lag is unknown: {error}"
    if as_json:
        typer.echo(json.dumps(report(found, lags), indent=2, default=str))
    else:
        console = Console(highlight=False)
        console.print(_slot(found))
        console.print(_plots(history, minutes))
        console.print(_tables(lags, tables) if lags else Text(why, "yellow"))
        for line in said(found):
            level, _, rest = line.partition(": ")
            console.print(Text.assemble((f"{level} ", COLOURS[level]), rest), soft_wrap=True)
    raise typer.Exit(EXIT[found.level])


def report(found: guarding.Look, lags: Sequence[TableLag]) -> dict[str, Any]:
    """The look as plain data."""
    return {
        "level": found.level,
        **asdict(found.facts),
        "kept_bytes": found.facts.kept_bytes,
        "behind_bytes": found.facts.behind_bytes,
        "behind_s": found.verdict.behind_s,
        "limit_in_s": found.verdict.limit_in_s,
        "findings": [asdict(f) for f in found.verdict.findings],
        "breaks": [asdict(b) for b in found.breaks],
        "tables": [asdict(lag) for lag in lags],
    }


def _slot(found: guarding.Look) -> Table:
    facts, room = found.facts, found.facts.share
    table = Table.grid(padding=(0, 2))
    table.add_row("slot", Text.assemble(facts.slot, "  ", (found.level, COLOURS[found.level])))
    table.add_row("server", f"{facts.system_identifier}, timeline {facts.timeline}")
    table.add_row("read by", "its connector" if facts.is_active else Text("nobody", "yellow"))
    if facts.exists:
        kept = f"{size(facts.kept_bytes)} ({facts.wal_status})"
        table.add_row("keeps", kept + (f", {room:.0%} of its room" if room is not None else ""))
        table.add_row("limit", f"{size(facts.limit_bytes)}, {size(facts.safe_bytes)} left")
        behind = f"{size(facts.behind_bytes)}, {found.verdict.behind_s:.0f} s"
        table.add_row("behind", f"{behind} (log ends at {lsn(facts.current_lsn)})")
        table.add_row("starts at", lsn(facts.restart_lsn))
        table.add_row("confirmed", lsn(facts.confirmed_lsn))
        table.add_row("in Connect", lsn(facts.stored_lsn))
    return table


def _plots(history: Sequence[Facts], minutes: int) -> Table:
    table = Table.grid(padding=(0, 2))
    plotted = {
        "kept": [(f.seen_at, f.kept_bytes) for f in history],
        "behind": [(f.seen_at, f.behind_bytes) for f in history],
    }
    for words, seen in plotted.items():
        values = buckets(seen, minutes)
        bars, most = Text(sparkline(values), "cyan"), size(int(max(values)))
        table.add_row(f"{words}, {minutes} min", bars, f"at most {most}")
    return table


def buckets(seen: Sequence[tuple[datetime, float]], minutes: int) -> list[float]:
    """The highest value in each stretch of time that is one mark wide, the newest last."""
    found = [0.0] * PLOT_WIDTH
    if not seen:
        return found
    end, width_s = seen[-1][0], minutes * 60 / PLOT_WIDTH
    for at, value in seen:
        place = PLOT_WIDTH - 1 - int((end - at).total_seconds() / width_s)
        if place >= 0:
            found[place] = max(found[place], value)
    return found


def _tables(lags: Sequence[TableLag], every: bool) -> Table:
    ordered = sorted(lags, key=lambda lag: (lag.behind_s is not None, -(lag.behind_s or 0)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("table", "waiting records", "complete through", "behind", ""):
        table.add_column(name, justify="left" if name in ("table", "") else "right")
    for lag in ordered if every else ordered[:TABLES_SHOWN]:
        seconds = "never complete" if lag.behind_s is None else f"{lag.behind_s:.0f} s"
        cells = (f"{lag.waiting:,}", lsn(lag.complete_lsn), size(lag.behind_bytes), seconds)
        table.add_row(lag.entity, *cells)
    if not every and len(ordered) > TABLES_SHOWN:
        table.add_row(f"and {len(ordered) - TABLES_SHOWN} more: --tables")
    return table
