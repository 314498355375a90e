"""Draws a frame: one page that fits a terminal. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from millrace.watching.frame import SHARES, Frame
from schemas import codes

BAR_WIDTH = 24
REASONS_SHOWN = 10
# What needs nobody's attention.
QUIET = ("closed", "complete")
SPARKS = " ▁▂▃▄▅▆▇█"


def page(frame: Frame, trend: Sequence[float] = ()) -> RenderableType:
    """The whole view; `trend` are the rates of the frames so far, the newest last."""
    left = Group(_panel("Decisions", _decisions(frame, trend)), _panel("Latency", _latency(frame)))
    right = Group(_panel("Declined for", _reasons(frame)), _panel("Behind", _agents(frame)))
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    below = [_panel("Standing", _standing(frame))]
    if frame.events:
        below.append(_panel("Also", _numbers(frame.events)))
    silent = [Text(f"{part} does not answer: {why}", "red") for part, why in frame.silent.items()]
    return Group(grid, *below, *silent)


def sparkline(values: Sequence[float]) -> str:
    """The values as bars, the highest full."""
    most = max(values, default=0)
    steps = len(SPARKS) - 1
    return "".join(SPARKS[round(steps * value / most)] if most else SPARKS[0] for value in values)


def _decisions(frame: Frame, trend: Sequence[float]) -> RenderableType:
    table = _pairs()
    table.add_row("rate", f"{frame.rate:,.1f} /s", Text(sparkline(trend), style="cyan"))
    table.add_row(
        "approved", _share(frame.approval_rate), f"{frame.approved:,} of {frame.decided:,}"
    )
    table.add_row("replayed", f"{frame.replayed:,}", "answers repeated for their keys")
    stood_in = Text(_share(frame.stand_in_share), style="red" if frame.stood_in else "")
    table.add_row("stood in", stood_in, f"{frame.stood_in:,} of {frame.answered:,} over HTTP")
    table.add_row("in flight", f"{frame.in_flight:,}", "requests that wait for their answer")
    return table


def _latency(frame: Frame) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for share in SHARES:
        table.add_column(f"p{share * 100:.0f} ms", justify="right")
    for what, values in frame.latency_ms.items():
        table.add_row(what, *("-" if value is None else f"{value:,.1f}" for value in values))
    return table


def _reasons(frame: Frame) -> RenderableType:
    if not frame.declined:
        return Text("nothing was declined", style="dim")
    table = _pairs()
    most = max(frame.declined.values())
    for reason, count in frame.declined.most_common(REASONS_SHOWN):
        bar = Text("█" * max(1, round(BAR_WIDTH * count / most)), style="yellow")
        table.add_row(f"{_code(reason)} {reason}", f"{count:,}", bar)
    return table


def _code(reason: str) -> str:
    known = {one.value for one in codes.Reason}
    return codes.RESPONSE_CODE[codes.Reason(reason)] if reason in known else "  "


def _agents(frame: Frame) -> RenderableType:
    if not frame.agents:
        return Text("no worker answers", style="dim")
    table = _pairs()
    for name, agent in sorted(frame.agents.items()):
        waits = Text(f"waits for {agent.waits_for}", style="red") if agent.waits_for else Text("")
        table.add_row(name, f"{agent.lag:,}", waits)
    return table


def _standing(frame: Frame) -> RenderableType:
    table = _pairs()
    for currency, (count, amount_minor) in frame.holds.items():
        amount = Decimal(amount_minor).scaleb(-codes.EXPONENT[currency])
        table.add_row("open holds", f"{count:,}", f"{amount:,f} {currency}")
    for name, words in frame.standing.items():
        table.add_row(name, "", Text(words, style="" if words in QUIET else "red"))
    if not table.rows:
        return Text("no hold is open", style="dim")
    return table


def _numbers(events: Mapping[str, int]) -> RenderableType:
    table = _pairs()
    for name, count in sorted(events.items()):
        table.add_row(name, f"{count:,}", "")
    return table


def _pairs() -> Table:
    """Name, number, remark."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    return table


def _panel(title: str, inside: RenderableType) -> Panel:
    return Panel(inside, title=title, title_align="left", box=box.ROUNDED, border_style="dim")


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
