"""`millrace replay`: a decision taken again from the record, and compared with what was stored."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millrace.rulebook import database, moment
from streams.authorization.replaying import Replay, Replayer

MOST_SHOWN = 20


def replay(
    decision: Annotated[
        str | None,
        typer.Argument(
            metavar="[DECISION]", help="The authorization's id, or its idempotency key."
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", parser=moment, metavar="MOMENT", help="Or every decision from here,"
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="MOMENT", help="to before here (now)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Take a decision again, exactly, and lay it beside what was stored.

    Its features are rebuilt from the card's earlier decisions and compared one
    by one with what was logged; the verdict from the stored version of the
    rules, available credit from the ledger's journal, spend limits from earlier
    approvals. Exit code 1 when anything differs.
    """
    if (decision is None) == (since is None):
        raise typer.BadParameter("give a decision, or --from for all decisions of a span")
    with database() as connection:
        replayer = Replayer(connection)
        if decision is not None:
            one = replayer.replay(decision)
            _print_json(_document(one)) if as_json else _show(one)
            is_equal = one.is_equal
        else:
            is_equal = _span(replayer, since or datetime.now(UTC), until, as_json)
    if not is_equal:
        raise typer.Exit(1)


def _span(replayer: Replayer, since: datetime, until: datetime | None, as_json: bool) -> bool:
    """Every decision of a span; only what differs is shown."""
    count = 0
    differing: list[Replay] = []
    with Console(stderr=True).status("replaying") as status:
        for one in replayer.replay_span(since, until or datetime.now(UTC)):
            count += 1
            status.update(f"replaying: {count:,} decisions, {len(differing):,} differ")
            if not one.is_equal:
                differing.append(one)
    if as_json:
        _print_json({"replayed": count, "differing": [_document(one) for one in differing]})
        return not differing
    table = Table("decision", "when (UTC)", "what", "stored", "rebuilt", title="Differences")
    for one in differing[:MOST_SHOWN]:
        for check in one.differences:
            table.add_row(
                one.authorization_id, f"{one.decided_at:%Y-%m-%d %H:%M:%S}",
                f"{check.part}: {check.name}", str(check.stored), str(check.rebuilt),
            )  # fmt: skip
    if differing:
        Console().print(table)
    typer.echo(f"{count:,} decisions taken again: {count - len(differing):,} equal,"
               f" {len(differing):,} differ")  # fmt: skip
    return not differing


def _show(one: Replay) -> None:
    console = Console()
    table = Table(
        "", "", "stored", "rebuilt", "",
        title=f"Decision {one.authorization_id}",
        caption=f"key {one.idempotency_key}, number {one.card_version} of card {one.card_id},"
        f" rules {one.rule_version}",
    )  # fmt: skip
    part = ""
    for check in one.checks:
        if check.part != part:
            table.add_section()
        is_equal = Text("=", "green") if check.is_equal else Text("differs", "bold red")
        table.add_row(
            check.part if check.part != part else "", check.name, _text(check.stored),
            _text(check.rebuilt), is_equal,
        )  # fmt: skip
        part = check.part
    console.print(table)
    for spend in one.stood.spends:
        limits = [
            f"{used:,} of {limit:,} {what}"
            for used, limit, what in (
                (spend.approved_count, spend.count_limit, "approvals"),
                (spend.approved_minor, spend.amount_limit_minor, "minor units"),
            )
            if limit is not None
        ]
        console.print(f"{spend.name}: {' and '.join(limits)} used before", highlight=False)
    for note in one.notes:
        console.print(note)
    console.print(
        Text("the same decision again", "green")
        if one.is_equal
        else Text(f"{len(one.differences)} of {len(one.checks)} differ", "bold red")
    )


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _document(one: Replay) -> dict[str, Any]:
    return {
        **{k: v for k, v in asdict(one).items() if k != "checks"},
        "is_equal": one.is_equal,
        "checks": [{**asdict(check), "is_equal": check.is_equal} for check in one.checks],
    }


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))
