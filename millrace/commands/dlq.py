"""`millrace dlq`: messages that could not be read, with their bytes and the reason."""

from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from millrace.current import running

app = typer.Typer(help="Dead letters: messages that could not be read.", no_args_is_help=True)

LIST = """
select dead_letter_id, topic, partition, "offset", error_class, error, first_seen_at,
    octet_length(message_value) as bytes
from ops.dead_letters
where %(topic)s::text is null or topic = %(topic)s
order by dead_letter_id desc
limit %(most)s
"""
SHOW = "select * from ops.dead_letters where dead_letter_id = %(number)s"


@app.command("list")
def list_(
    topic: Annotated[str | None, typer.Option(help="Only this topic's.")] = None,
    most: Annotated[int, typer.Option("--most", help="How many, newest first.")] = 20,
) -> None:
    """The newest dead letters: where each was read and why it could not be."""
    found = _rows(LIST, topic=topic, most=most)
    if not found:
        typer.echo("There are no dead letters.")
        return
    table = Table("id", "topic", "place", "bytes", "reason", "first seen (UTC)")
    for row in found:
        table.add_row(
            str(row["dead_letter_id"]),
            row["topic"],
            f"{row['partition']}@{row['offset']}",
            str(row["bytes"] or 0),
            row["error"],
            f"{row['first_seen_at']:%Y-%m-%d %H:%M:%S}",
        )
    Console().print(table)


@app.command()
def show(number: Annotated[int, typer.Argument(help="The id that `dlq list` shows.")]) -> None:
    """One dead letter whole, its key and value as a hex dump."""
    found = _rows(SHOW, number=number)
    if not found:
        typer.echo(f"There is no dead letter {number}.", err=True)
        raise typer.Exit(1)
    row = found[0]
    for name in ("topic", "partition", "offset", "error_class", "error", "schema_id",
                 "code_version", "first_seen_at", "filed_at"):  # fmt: skip
        typer.echo(f"{name:14} {row[name]}")
    for name in ("message_key", "message_value"):
        typer.echo(f"{name}\n{dump(row[name])}")


def dump(value: bytes | None) -> str:
    """Sixteen bytes a line: place, hex, and what is printable."""
    if value is None:
        return "  (none)"
    lines = []
    for start in range(0, len(value), 16):
        part = value[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {start:06x}  {part.hex(' '):47}  {shown}")
    return "\n".join(lines) or "  (empty)"


def _rows(statement: str, **arguments: Any) -> list[dict[str, Any]]:
    dsn = running("postgres").env["MILLRACE_OLTP_DSN"]
    with psycopg.connect(dsn, row_factory=dict_row, connect_timeout=5) as connection:
        return connection.execute(statement, arguments).fetchall()
