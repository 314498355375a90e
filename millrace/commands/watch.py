"""`millrace watch`: authorizations as they are decided, refreshed in the terminal."""

import time
from collections import deque
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from millrace.current import addresses
from millrace.stack.errors import StackError
from millrace.watching.frame import between
from millrace.watching.reading import Reader
from millrace.watching.screen import page

TREND_FRAMES = 30
NEEDS = ("MILLRACE_GATEWAY", "MILLRACE_WORKER", "MILLRACE_OLTP_DSN")


def watch(
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    interval: Annotated[
        float, typer.Option(help="Seconds from frame to frame.", min=0.1, max=3600)
    ] = 1.0,
) -> None:
    """Watch authorizations: rate, approvals, latency, decline reasons, stand-ins, lag, holds.

    A frame is what happened since the one before it. Ctrl-C ends it.
    """
    reader = _reader()
    console = Console(highlight=False)
    try:
        earlier = reader.read()
        if len(earlier.silent) == len(NEEDS):
            raise StackError(
                "neither gateway nor worker nor database answers: "
                + "; ".join(f"{part}: {why}" for part, why in earlier.silent.items())
            )
        if once:
            time.sleep(interval)
            console.print(page(between(earlier, reader.read())))
            return
        trend: deque[float] = deque(maxlen=TREND_FRAMES)
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                later = reader.read()
                frame = between(earlier, later)
                trend.append(frame.rate)
                live.update(page(frame, trend), refresh=True)
                earlier = later
    except KeyboardInterrupt:
        return
    finally:
        reader.close()


def _reader() -> Reader:
    found = addresses("gateway", "worker", "postgres")
    missing = [name for name in NEEDS if not found.get(name)]
    if missing:
        raise StackError(f"{', '.join(missing)} is not set; .env.example says what it is")
    return Reader(*(found[name] for name in NEEDS))
