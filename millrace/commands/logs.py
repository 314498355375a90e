"""`millrace logs`: what a part has written."""

import time
from pathlib import Path
from typing import Annotated

import typer

from millrace.current import stack
from millrace.stack import PARTS
from millrace.stack.errors import StackError

READ_BYTES = 256 * 1024


def logs(
    part: Annotated[str, typer.Argument(help=f"supervisord, {', '.join(PARTS)}")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="How many of the last.")] = 100,
) -> None:
    """Show the last lines of a part's log."""
    file = stack().layout.log(part)
    if not file.exists():
        raise StackError(f"{part} has no log yet; the parts are {', '.join(PARTS)}")
    for line in _last(file, lines):
        typer.echo(line)
    if follow:
        _follow(file)


def _last(file: Path, lines: int) -> list[str]:
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - READ_BYTES))
        return log.read().decode(errors="replace").splitlines()[-lines:]


def _follow(file: Path) -> None:
    log = file.open(errors="replace")
    log.seek(0, 2)
    try:
        while True:
            text = log.read()
            if text:
                typer.echo(text, nl=False)
            elif file.exists() and file.stat().st_size < log.tell():
                # Rotated: the name now stands for a new file.
                log.close()
                log = file.open(errors="replace")
            else:
                time.sleep(0.3)
    except KeyboardInterrupt:
        typer.echo()
    finally:
        log.close()
