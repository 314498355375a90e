"""`millrace env`: the stack's variables, for a shell or a tool."""

from typing import Annotated

import typer

from millrace.current import stack
from millrace.stack.dotenv import render


def env(
    export: Annotated[
        bool, typer.Option("--export", help='For a shell: eval "$(millrace env --export)"')
    ] = False,
) -> None:
    """Print the MILLRACE_ variables with which anything can reach the stack."""
    prefix = "export " if export else ""
    for line in render(stack().env).splitlines():
        typer.echo(prefix + line)
