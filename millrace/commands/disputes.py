"""`millrace disputes`: purchases that holders object to, where each stands, what it moved."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from schemas.codes_card import DisputeStatus

DISPUTES = """
select d.dispute_id, d.status, d.reason, d.amount_minor, d.currency, d.account_id,
    coalesce(a.idempotency_key, c.network_ref, '-'),
    case
        when d.resolution_entry_id is not null then 'settled'
        when d.provisional_entry_id is not null then 'credited'
        else '-'
    end,
    to_char(d.opened_at at time zone 'UTC', 'YYYY-MM-DD'),
    extract(day from coalesce(d.resolved_at, now()) - d.opened_at)::int
from card.disputes d
left join card.authorizations a on a.authorization_id = d.authorization_id
left join card.clearings c on c.clearing_id = d.clearing_id
where (%(status)s::text is null or d.status = %(status)s)
    and (%(everything)s or %(status)s::text is not null or d.resolved_at is null)
order by d.opened_at, d.dispute_id
limit %(most)s
"""
COUNTS = """
select status, count(*) from card.disputes group by status order by status
"""


def disputes(
    status: Annotated[DisputeStatus | None, typer.Option(help="Only those that stand so")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what has ended")] = False,
    most: Annotated[int, typer.Option(help="Rows to show", min=1)] = 50,
) -> None:
    """List the disputes that are not over yet, the oldest first, and count all by status."""
    asked = {"status": status and status.value, "everything": everything, "most": most}
    try:
        with psycopg.connect(addresses("postgres")["MILLRACE_OLTP_DSN"]) as connection:
            rows = connection.execute(DISPUTES, asked).fetchall()
            counts = connection.execute(COUNTS).fetchall()
    except psycopg.OperationalError:
        typer.echo("The database does not answer: is the stack up? (`millrace up`)", err=True)
        raise typer.Exit(1) from None
    table = Table("Dispute", "Status", "Reason", "Amount", "Currency", "Account", "Of", "Customer",
                  "Opened", "Age, days")  # fmt: skip
    for row in rows:
        table.add_row(*map(str, row))
    if rows:
        Console().print(table)
    typer.echo(", ".join(f"{count:,} {status}" for status, count in counts) or "no disputes")
