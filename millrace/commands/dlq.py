"""`millrace dlq`: messages that could not be handled, with bytes and reason, and the way back."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import Annotated, Any

import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from millrace.hexdump import dump
from schemas.codes_operations import DeadLetterStatus
from streams.dead_letters import redriving

app = typer.Typer(
    help="Dead letters: messages that could not be handled, and how they are sent again.\n\n"
    "A letter is HELD until it is released: its original bytes, key and headers go to its original"
    " topic again, with the header `dlq.redriven`. What is handled then is HANDLED; what fails"
    " again is a letter anew. Nothing is done twice: readers know a message by its key.",
    no_args_is_help=True,
)
Topic = Annotated[str | None, typer.Option(help="Only this topic's.")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason, as `list` shows it.")]
WAIT_S = 20.0

LIST = """
select dead_letter_id, topic, partition, "offset", error_class, error, attempts, status,
    first_seen_at, last_seen_at, octet_length(message_value) as bytes
from ops.dead_letters
where (%(topic)s::text is null or topic = %(topic)s)
    and (%(reason)s::text is null or error_class = %(reason)s)
    and (%(status)s::text is null or status = %(status)s)
order by dead_letter_id desc
limit %(most)s
"""
SHOW = """
select *, (select max(a.dead_letter_id) from ops.dead_letters a
    where a.redrive_of = d.dead_letter_id) as failed_as
from ops.dead_letters d where dead_letter_id = %(number)s
"""
SHOWN = (
    "topic", "partition", "offset", "error_class", "error", "schema_id", "code_version",
    "first_seen_at", "last_seen_at", "filed_at", "attempts", "redrive_of", "status", "released_by",
    "release_reason", "released_at", "released_offset", "failed_as",
)  # fmt: skip


@app.command("list")
def list_(
    topic: Topic = None,
    reason: Reason = None,
    status: Annotated[
        DeadLetterStatus | None,
        typer.Option(help="Only those that stand so.", case_sensitive=False),
    ] = None,
    most: Annotated[int, typer.Option("--most", help="How many, newest first.")] = 20,
) -> None:
    """The newest dead letters: where each was read, why it failed, and how it stands."""
    found = _rows(LIST, topic=topic, reason=reason, status=status and status.value, most=most)
    if not found:
        typer.echo("There are no dead letters.")
        return
    table = Table("id", "topic", "place", "bytes", "reason", "tried", "status",
                  "first seen (UTC)", "last seen (UTC)")  # fmt: skip
    for row in found:
        table.add_row(
            str(row["dead_letter_id"]),
            row["topic"],
            f"{row['partition']}@{row['offset']}",
            str(row["bytes"] or 0),
            _said(row["error_class"], row["error"]),
            str(row["attempts"]),
            row["status"],
            f"{row['first_seen_at']:%Y-%m-%d %H:%M:%S}",
            f"{row['last_seen_at']:%Y-%m-%d %H:%M:%S}",
        )
    Console().print(table)


@app.command()
def show(number: Annotated[int, typer.Argument(help="The id that `dlq list` shows.")]) -> None:
    """One dead letter whole: its life, its headers, its key and value as a hex dump."""
    found = _rows(SHOW, number=number)
    if not found:
        typer.echo(f"There is no dead letter {number}.", err=True)
        raise typer.Exit(1)
    row = found[0]
    for name in SHOWN:
        if row[name] is not None:
            typer.echo(f"{name:15} {row[name]}")
    for name, value in zip(row["header_names"], row["header_values"], strict=True):
        typer.echo(f"header {name}\n{dump(value)}")
    for name in ("message_key", "message_value"):
        typer.echo(f"{name}\n{dump(row[name])}")


@app.command()
def release(
    numbers: Annotated[list[int] | None, typer.Argument(help="Ids that `list` shows.")] = None,
    topic: Topic = None,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
    why: Annotated[str, typer.Option(help="Why it can be handled now; kept.")] = "",
    by: Annotated[str, typer.Option(help="Who; you, unless said.")] = getpass.getuser(),
    wait_s: Annotated[float, typer.Option(help="Seconds to wait for what becomes of it.")] = WAIT_S,
) -> None:
    """Send held letters again, chosen by id, topic or reason; each of them once."""
    if not (numbers or topic or reason):
        raise typer.BadParameter("say which: ids, --topic or --reason")
    if not (dry_run or why):
        raise typer.BadParameter("say --why they can be handled now, or --dry-run")
    with psycopg.connect(_dsn(), autocommit=True, connect_timeout=5) as connection:
        letters = redriving.chosen(connection, numbers, topic, reason)
        if unknown := sorted(set(numbers or ()) - {letter.number for letter in letters}):
            listed = ", ".join(map(str, unknown))
            typer.echo(f"Not held, or not as said: {listed}. Nothing to do for these.", err=True)
        if dry_run or not letters:
            _print_chosen(letters)
            return
        servers = addresses("kafka")["MILLRACE_KAFKA"]
        try:
            places = redriving.release(connection, servers, letters, by, why)
        except (redriving.Busy, redriving.NotSent) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        stand = redriving.settle(connection, servers, list(places), wait_s)
    _print_released(letters, places, stand)
    if "FAILED_AGAIN" in stand.values():
        raise typer.Exit(1)


def _print_chosen(letters: Sequence[redriving.Letter]) -> None:
    table = Table("id", "to topic", "partition", "bytes", "reason", "tried")
    for letter in letters:
        table.add_row(
            str(letter.number),
            letter.topic,
            str(letter.partition),
            str(len(letter.value or b"")),
            letter.error_class,
            str(letter.attempts),
        )
    if letters:
        Console().print(table)
    typer.echo(f"{len(letters)} would be sent again.")


def _print_released(
    letters: Sequence[redriving.Letter], places: dict[int, int], stand: dict[int, str]
) -> None:
    table = Table("id", "topic", "place", "became")
    for letter in letters:
        place = places.get(letter.number)
        where = f"{letter.partition}@{place}" if place is not None else "-"
        table.add_row(
            str(letter.number), letter.topic, where, stand.get(letter.number, "sent by others")
        )
    Console().print(table)
    typer.echo(f"{len(places)} sent again.")


def _said(error_class: str, error: str) -> str:
    """The reason's name is what releases are chosen by, so it is always to be read."""
    return error if error.startswith(error_class) else f"{error_class}: {error}"


def _dsn() -> str:
    return addresses("postgres")["MILLRACE_OLTP_DSN"]


def _rows(statement: str, **arguments: Any) -> list[dict[str, Any]]:
    with psycopg.connect(_dsn(), row_factory=dict_row, connect_timeout=5) as connection:
        return connection.execute(statement, arguments).fetchall()
