"""Shows how long work goes on: parts as they come up, and the bar of counted work."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


def bar(console: Console) -> Progress:
    """A bar that says how many of how many, and is gone when the work is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def watch(parts: Sequence[str]) -> Iterator[Callable[[str, str], None]]:
    """A function that takes a part's name and what happened to it.

    A live table in a terminal, one line an event elsewhere.
    """
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    if not console.is_terminal:
        yield lambda part, event: console.print(
            f"{time.monotonic() - began:6.1f} s  {part:<18} {event}"
        )
        return
    events: dict[str, tuple[str, float]] = dict.fromkeys(parts, ("waiting", 0.0))
    spinner = Spinner("dots")

    def table() -> Table:
        grid = Table.grid(padding=(0, 2))
        for part, (event, at) in events.items():
            mark = Text("✓", style="green") if event == "ready" else spinner
            grid.add_row(mark, part, Text(event, style="dim"), f"{at:.1f} s" if at else "")
        return grid

    with Live(get_renderable=table, console=console, refresh_per_second=8):

        def note(part: str, event: str) -> None:
            events[part] = (event, time.monotonic() - began)

        yield note
