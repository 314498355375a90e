"""`millrace down`: stop the stack."""

from typing import Annotated

import typer

from millrace.current import stack


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete all data, logs and passwords.")
    ] = False,
) -> None:
    """Stop everything; no process is left. The data stays unless --purge is given."""
    found = stack()
    if not found.layout.home.is_dir():
        typer.echo("nothing to stop: there is no state folder")
        return
    found.down(purge=purge)
    typer.echo("stopped; all state deleted" if purge else "stopped; the data stays")
