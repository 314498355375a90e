"""`millrace up`: start the stack, or some parts of it with what they need."""

import time
from typing import Annotated

import typer
from rich.console import Console

from millrace.current import stack
from millrace.progress import watch
from millrace.stack import PARTS
from millrace.stack.errors import StackError
from millrace.stack.parts import with_needs


def up(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=", ".join(PARTS))
    ] = None,
) -> None:
    """Start everything, or the named parts and what they need, and wait until it answers."""
    try:
        wanted = with_needs(parts or PARTS)
    except ValueError as error:
        raise StackError(str(error)) from error
    began = time.monotonic()
    with watch(wanted) as progress:
        stack().up(wanted, progress=progress)
    Console(highlight=False).print(
        f"{len(wanted)} parts ready in {time.monotonic() - began:.1f} s;"
        " `millrace status` shows them, `millrace down` stops them"
    )
