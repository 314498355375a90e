"""`millrace clearing`: load the files that networks settle by, and show what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from millrace.progress import bar
from oltp.reconciling.clearing_file import ClearingFileError
from oltp.reconciling.loading import load

app = typer.Typer(no_args_is_help=True, help="Clearing files of the networks.")
FILES = """
select f.network, f.file_ref, f.business_date, f.lines, f.unreadable_lines,
    count(m.message_key) filter (where m.state = 'APPLIED'),
    count(l.line_number) filter (where l.problem is null and m.state is distinct from 'APPLIED'),
    coalesce(to_char(f.applied_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), 'not complete')
from card.clearing_files f
left join card.clearing_lines l using (clearing_file_id)
left join card.card_messages m
    on m.message_key = l.message_key and m.request_hash = l.request_hash
group by f.clearing_file_id
order by f.business_date desc, f.created_at desc
limit %s
"""
LINES = """
select l.line_number, coalesce(l.message_kind, '-'), coalesce(l.network_ref, '-'),
    coalesce(l.amount_minor::text, '-'), coalesce(l.currency, '-'),
    case
        when l.problem is not null then 'UNREADABLE: ' || l.problem
        when m.message_key is null then 'not applied'
        when m.request_hash <> l.request_hash then 'CONFLICT: its key was used for another message'
        else m.state || ': ' || m.outcome
    end,
    l.raw
from card.clearing_files f
join card.clearing_lines l using (clearing_file_id)
left join card.card_messages m on m.message_key = l.message_key
where f.file_ref = %s
order by m.state = 'APPLIED' nulls first, l.line_number
limit %s
"""


@app.callback()
def _group() -> None:
    """Clearing files of the networks."""


@app.command("load")
def load_(
    file: Annotated[Path, typer.Argument(help="The file, as the network sent it", exists=True,
                                         dir_okay=False, readable=True)],
) -> None:  # fmt: skip
    """Load a file: each line is kept as it came and applied once, however often it is loaded.

    Exit code 1 when it is refused as a whole, or a line could not be read or applied.
    """
    console = Console()
    try:
        with bar(console) as progress:
            task = progress.add_task(file.name, total=None)
            loaded = load(
                addresses("postgres")["MILLRACE_OLTP_DSN"],
                file.read_bytes(),
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    except ClearingFileError as error:
        typer.echo(f"{file}: {error}", err=True)
        raise typer.Exit(1) from None
    except psycopg.OperationalError:
        _no_answer()
    if loaded.is_known:
        typer.echo(f"{file.name}: loaded before, nothing to do")
        return
    table = Table("State", "Outcome", title=f"{loaded.file.network} {loaded.file.file_ref}")
    table.add_column("Lines", justify="right")
    for (state, outcome), count in sorted(loaded.outcomes.items()):
        table.add_row(state, outcome, f"{count:,}")
    console.print(table)
    for line in loaded.file.unreadable:
        typer.echo(f"{file.name}:{line.number}: {line.problem}")
    for number, problem in loaded.failed:
        typer.echo(f"{file.name}:{number}: not applied: {problem}")
    if loaded.file.unreadable or loaded.failed:
        raise typer.Exit(1)


@app.command()
def show(
    file: Annotated[str | None, typer.Argument(help="A file's own name; all without")] = None,
    most: Annotated[int, typer.Option(help="Rows to show", min=1)] = 50,
) -> None:
    """Show the files, or the lines of one: first what was not applied."""
    try:
        with psycopg.connect(addresses("postgres")["MILLRACE_OLTP_DSN"]) as connection:
            if file is None:
                rows = connection.execute(FILES, (most,)).fetchall()
            else:
                rows = connection.execute(LINES, (file, most)).fetchall()
    except psycopg.OperationalError:
        _no_answer()
    if file is None:
        table = Table("Network", "File", "Day", "Lines", "Unreadable", "Applied", "Not applied",
                      "Complete")  # fmt: skip
    else:
        table = Table("Line", "Kind", "Reference", "Amount", "Currency", "What became of it", "Raw")
        if not rows:
            typer.echo(f"no file is called {file}: `millrace clearing show` lists them", err=True)
            raise typer.Exit(1)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


def _no_answer() -> None:
    typer.echo("The database does not answer: is the stack up? (`millrace up`)", err=True)
    raise typer.Exit(1) from None
