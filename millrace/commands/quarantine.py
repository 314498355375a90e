"""`millrace quarantine`: changes that broke their contract, and their way back into silver."""

from __future__ import annotations

import getpass
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from millrace.current import addresses
from millrace.hexdump import dump
from pipelines import captured_row, mending, quarantined
from pipelines.decisions import STATES, DecidedMeanwhile
from pipelines.delta_log import LogDamaged
from pipelines.patches import PatchRefused, parse
from pipelines.quarantined import Quarantined, Wanted
from schemas import contract

app = typer.Typer(
    help="Changes that broke their contract, and their way back into silver.\n\n"
    "A change is HELD, FIXED with a patch if it needs one, RELEASED, and APPLIED by the next build:"
    " at its own place in the order of its key, so a later change is never overwritten. What is"
    " still broken then is held again, with its reasons of today. Bronze is never changed.",
    no_args_is_help=True,
)
ME = getpass.getuser()
Names = Annotated[
    list[str] | None, typer.Argument(help="Changes as `list` names them, like payments/0@17.")
]
Entity = Annotated[str | None, typer.Option(help="Only of this entity.")]
Rule = Annotated[str | None, typer.Option(help="Only those that break this rule.")]
Why = Annotated[str, typer.Option(help="Why; kept with the decision.")]
By = Annotated[str, typer.Option(help="Who; you, unless said.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command("list")
def list_(
    entity: Entity = None,
    rule: Rule = None,
    state: Annotated[str | None, typer.Option(help=f"One of {', '.join(STATES)}.")] = None,
    most: Annotated[int, typer.Option("--most", help="How many; the counts are of all.")] = 20,
) -> None:
    """What is in quarantine, which rules it breaks and how it stands."""
    if state and state.lower() not in STATES:
        raise typer.BadParameter(f"there is no state {state}; there are {', '.join(STATES)}")
    found = _found(Wanted(entity, rule, state and state.lower()))
    if not found:
        typer.echo("Nothing is in quarantine.")
        return
    _print(sorted(found, key=lambda one: one.last_seen_at, reverse=True)[:most])
    counts = Counter((one.entity, rule, one.state) for one in found for rule in one.rules)
    table = Table("entity", "rule", "state", "changes")
    for (of_entity, broken, stands), count in sorted(counts.items()):
        table.add_row(of_entity, broken, stands, f"{count:,}")
    Console().print(table)
    typer.echo(f"{len(found):,} changes")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A change as `list` names it.")]) -> None:
    """One change whole: its reasons, its life, its row, its key and value as a hex dump.

    Of sealed and restricted columns the row says only whether there is a value.
    """
    one = _one(name)
    for label, text in (
        ("topic", one.place.topic), ("partition", one.place.partition),
        ("offset", one.place.offset), ("operation", one.op), ("lsn", one.lsn),
        ("state", one.state), ("first seen", one.first_seen_at), ("last seen", one.last_seen_at),
        ("delivered", f"{one.times} times"),
    ):  # fmt: skip
        typer.echo(f"{label:12} {text}")
    for rule, message in one.reasons:
        typer.echo(f"{'reason':12} {rule}: {message}")
    for decision in quarantined.life(_lake(), one):
        when = f"{decision.at:%Y-%m-%d %H:%M:%S}"
        typer.echo(f"{decision.state:12} {when} by {decision.by}: {decision.why}")
    columns = {column.name: column for column in contract.load(one.entity).columns}
    for column, text in one.patch.items():
        typer.echo(f"{'patch':12} {column} = {captured_row.in_words(text, columns.get(column))}")
    content = quarantined.content(_lake(), one)
    for line in _row(one, content):
        typer.echo(line)
    typer.echo(f"key\n{dump(one.key)}\nvalue\n{dump(content['value'])}")


@app.command()
def fix(
    names: Names = None,
    patch: Annotated[
        str, typer.Option(help='Columns as JSON, like {"status": "PAID"}; - reads it.')
    ] = "-",
    entity: Entity = None,
    rule: Rule = None,
    why: Why = "",
    by: By = ME,
    dry_run: DryRun = False,
) -> None:
    """Lay a patch over held changes. It fits their contract or is refused, with what is wrong."""
    chosen = _chosen(names, entity, rule, why, dry_run)
    text = sys.stdin.read() if patch == "-" else patch
    try:
        patches = {e: parse(text, contract.load(e)) for e in {one.entity for one in chosen}}
    except PatchRefused as error:
        typer.echo(f"The patch is refused:\n{error}", err=True)
        raise typer.Exit(1) from None
    for one in chosen:
        if left := _untouched(one, patches[one.entity]):
            typer.echo(f"{one.name}: the patch does not touch {', '.join(left)}", err=True)

    def decide() -> dict[str, str]:
        refused: dict[str, str] = {}
        for of_entity, laid in patches.items():
            those = [one for one in chosen if one.entity == of_entity]
            refused |= mending.fix(_lake(), those, laid, by, why)
        return refused

    _decided(chosen, "fixed", dry_run, mending.cannot_be_fixed, decide)


@app.command()
def release(
    names: Names = None,
    entity: Entity = None,
    rule: Rule = None,
    why: Why = "",
    by: By = ME,
    dry_run: DryRun = False,
) -> None:
    """Give changes to the next build: fixed ones with their patch, others as they came."""
    chosen = _chosen(names, entity, rule, why, dry_run)
    refusal = mending.cannot_be_released
    # Of many that fit a rule, those that are on their way already are not meant.
    if not names:
        chosen = [one for one in chosen if not refusal(one, one.state)]
    _decided(
        chosen, "released", dry_run, refusal, lambda: mending.release(_lake(), chosen, by, why)
    )


@app.command()
def hold(names: Names = None, why: Why = "", by: By = ME, dry_run: DryRun = False) -> None:
    """Take back fixes and releases that no build has taken yet."""
    chosen = _chosen(names, None, None, why, dry_run)
    refusal = mending.cannot_be_held
    _decided(chosen, "held", dry_run, refusal, lambda: mending.hold(_lake(), chosen, by, why))


def _chosen(
    names: Sequence[str] | None, entity: str | None, rule: str | None, why: str, dry_run: bool
) -> list[Quarantined]:
    if not (names or entity or rule):
        raise typer.BadParameter("say which: changes, --entity or --rule")
    if not (why or dry_run):
        raise typer.BadParameter("say --why, or --dry-run")
    found = _found(Wanted(entity, rule, names=tuple(names or ())))
    if missing := sorted(set(names or ()) - {one.name for one in found}):
        typer.echo(f"Not in quarantine, or not as said: {', '.join(missing)}.", err=True)
        raise typer.Exit(1)
    return found


def _decided(
    chosen: Sequence[Quarantined],
    state: str,
    dry_run: bool,
    refusal: Callable[[Quarantined, str], str | None],
    decide: Callable[[], dict[str, str]],
) -> None:
    """Do it, or say what would be done; exit code 1 when something was refused."""
    if dry_run:
        refused = {one.name: why for one in chosen if (why := refusal(one, one.state))}
    else:
        try:
            refused = decide()
        except DecidedMeanwhile as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
    done = [one for one in chosen if one.name not in refused]
    if done:
        _print(done)
    for name, why in refused.items():
        typer.echo(f"{name}: {why}", err=True)
    typer.echo(f"{len(done):,} {'would be ' if dry_run else ''}{state}.")
    if refused:
        raise typer.Exit(1)


def _print(changes: Sequence[Quarantined]) -> None:
    table = Table("change", "op", "state", "breaks", "patch", "first seen (UTC)", "last seen (UTC)")
    for one in changes:
        table.add_row(
            one.name,
            one.op or "-",
            one.state,
            ", ".join(one.rules),
            ", ".join(one.patch) or "-",
            f"{one.first_seen_at:%Y-%m-%d %H:%M:%S}",
            f"{one.last_seen_at:%Y-%m-%d %H:%M:%S}",
        )
    Console().print(table)


def _row(one: Quarantined, content: dict[str, Any]) -> list[str]:
    """The row in words, or why there is none to be shown."""
    from pipelines.registry import RegistryUnavailable, WriterSchemas

    if content["value"] is None or content["value_schema_id"] is None:
        return []
    try:
        schema = WriterSchemas(addresses("registry")["MILLRACE_REGISTRY"])(
            content["value_schema_id"]
        )
        if schema is None:
            return [f"row          the registry knows no schema {content['value_schema_id']}"]
        envelope = captured_row.decoded(content["value"], schema)
    except (RegistryUnavailable, ValueError) as error:
        return [f"row          {error}"]
    row = envelope.get("after") or envelope.get("before") or {}
    words = captured_row.shown(row, contract.load(one.entity))
    return [f"  {column:24} {text}" for column, text in words.items()]


def _untouched(one: Quarantined, patch: Any) -> list[str]:
    """Rules about one column that the patch leaves as it is: they will be broken still."""
    columns = {column.name for column in contract.load(one.entity).columns}
    return [
        rule
        for rule in one.rules
        if (column := rule.partition(".")[0]) in columns and column not in {*patch, *one.patch}
    ]


def _one(name: str) -> Quarantined:
    found = _found(Wanted(names=(name,)))
    if not found:
        typer.echo(f"{name} is not in quarantine.", err=True)
        raise typer.Exit(1)
    return found[0]


def _found(wanted: Wanted) -> list[Quarantined]:
    try:
        return quarantined.find(_lake(), wanted)
    except LogDamaged as error:
        typer.echo(f"The quarantine cannot be read: {error}", err=True)
        raise typer.Exit(1) from None


def _lake() -> Path:
    return Path(addresses()["MILLRACE_LAKE"])
