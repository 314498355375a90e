"""`millrace status`: every part, how far the readers are behind, and how new each layer is."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millrace import freshness, lag
from millrace.current import stack
from millrace.stack import Stack
from millrace.stack.parts import ALL
from millrace.stack.supervision import State

CAPTURE_COLOURS = {"ok": "green", "warning": "yellow", "alarm": "red", "broken": "bold red"}
COLOURS = {"RUNNING": "green", "STARTING": "yellow", "STOPPED": "dim"}


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show state, memory, port, uptime and lag of each part, and the freshness of each layer.

    Exit code 1 when a part that was started does not run.
    """
    found = stack()
    states = found.status()
    report = _report(found, states)
    if as_json:
        typer.echo(json.dumps(report, indent=2, default=str))
    else:
        _draw(report)
    if any(state.state in ("FATAL", "BACKOFF", "EXITED") for state in states.values()):
        raise typer.Exit(1)


def _report(found: Stack, states: dict[str, State]) -> dict[str, Any]:
    """Everything the page shows, as plain data."""
    up = {name for name, state in states.items() if state.running}
    env = found.env if up else {}
    groups = lag.of_groups(env["MILLRACE_KAFKA"]) if "kafka" in up else {}
    slots = lag.of_slots(env["MILLRACE_OLTP_ADMIN_DSN"]) if "postgres" in up else {}
    behind = {
        "worker": f"{sum(groups.values())} messages" if groups else None,
        "connect": f"{sum(slots.values()) / 1024:.0f} KiB of log" if slots else None,
    }
    return {
        "home": found.layout.home,
        "parts": [_part(found, states[name], behind.get(name)) for name in ALL],
        "groups_behind_messages": groups,
        "slots_behind_bytes": slots,
        "capture": _capture(env) if "postgres" in up else None,
        "layers": [
            {"layer": layer.layer, "at": layer.at, "meaning": layer.meaning}
            for layer in (freshness.of_layers(env) if "postgres" in up else [])
        ],
    }


def _capture(env: dict[str, str]) -> dict[str, str] | None:
    """The guard's word on the slot."""
    import psycopg

    from connectors import offsets
    from pipelines.capture import guarding, showing

    try:
        found = guarding.look(
            env["MILLRACE_OLTP_ADMIN_DSN"],
            env["MILLRACE_WAREHOUSE_DSN"],
            stored=lambda: offsets.stored_lsn(env["MILLRACE_CONNECT"]),
        )
    except psycopg.Error:
        return None
    worst = "; ".join(showing.said(found)[:2])
    return {"level": found.level, "slot": showing.line(found), "findings": worst}


def _part(found: Stack, state: State, behind: str | None) -> dict[str, Any]:
    pid = found.pid(state.name)
    ports = ALL[state.name].ports
    return {
        "name": state.name,
        "state": state.state,
        "pid": pid,
        "memory_mib": _memory_mib(pid) if pid else None,
        "port": found.ports[ports[0]] if ports else None,
        "uptime_s": int(time.time() - state.started_at) if state.started_at else None,
        "behind": behind,
    }


def _memory_mib(pid: int) -> int | None:
    """Memory of the part and of what it started."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
        # Proportional: Postgres's processes share one buffer pool, which counts once.
        return sum(process.memory_full_info().pss for process in family) // 2**20
    except psutil.Error:
        return None


def _draw(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("part", "state", "pid", "memory", "port", "up for", "behind"):
        table.add_column(column, justify="right" if column in ("pid", "memory") else "left")
    for part in report["parts"]:
        table.add_row(
            part["name"],
            Text(part["state"].lower(), style=COLOURS.get(part["state"], "red")),
            str(part["pid"] or ""),
            f"{part['memory_mib']} MiB" if part["memory_mib"] is not None else "",
            str(part["port"] or ""),
            _duration(part["uptime_s"]),
            part["behind"] or "",
        )
    console.print(table)
    if capture := report["capture"]:
        console.print()
        text = Text.assemble((capture["slot"], CAPTURE_COLOURS[capture["level"]]))
        console.print(text.append(f"  {capture['findings']}" if capture["findings"] else ""))
    if report["layers"]:
        console.print()
        console.print(_layers(report["layers"]))


def _layers(layers: list[dict[str, Any]]) -> Table:
    table = Table("layer", "age", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for layer in layers:
        at = layer["at"]
        if at is None:
            table.add_row(layer["layer"], "-", "nothing yet")
        else:
            age = _duration((datetime.now(UTC) - at).total_seconds())
            table.add_row(layer["layer"], age, f"{layer['meaning']} {at:%Y-%m-%d %H:%M:%S} UTC")
    return table


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole / length:.1f} {unit}"
    return f"{whole} s"
