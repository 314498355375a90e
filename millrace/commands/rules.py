"""`millrace rules`: versions of the authorization rules, from a draft to what decides, and back."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millrace.rulebook import database, rule_set
from millrace.verdicts import as_document, show
from oltp import rules as stored
from streams.authorization import shadowing
from streams.authorization.rules import RuleSet, diff
from streams.authorization.ruleset_source import from_file

app = typer.Typer(
    no_args_is_help=True,
    help="Rules as versioned data: draft, shadow, promote, roll back.\n\n"
    "A version begins as a DRAFT (from a YAML file), is evaluated in SHADOW beside the one that"
    " decides, is promoted to ACTIVE, and RETIRED by the next one. `report` says what it would have"
    " changed so far; `millrace backtest` says it for the past, without waiting.",
)
COLOURS = {"ACTIVE": "green", "SHADOW": "cyan", "DRAFT": "yellow", "RETIRED": "dim"}
Name = Annotated[str, typer.Argument(metavar="VERSION", help="As `millrace rules list` shows it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the change.")]
By = Annotated[str, typer.Option("--by", help="Who changes it; you, unless said.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
ME = getpass.getuser()


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every version: what decides first, then what watches, drafts, and what is retired."""
    with database() as connection:
        found = stored.versions(connection)
    if as_json:
        _print_json([_without_document(version) for version in found])
        return
    table = Table("version", "status", "since (UTC)", "by", "why", "digest", title="Rules")
    for version in found:
        table.add_row(
            version.version,
            Text(version.status, COLOURS[version.status]),
            f"{version.changed_at or version.created_at:%Y-%m-%d %H:%M:%S}",
            version.changed_by or version.created_by,
            version.reason or "",
            version.document_sha256[:12],
        )
    Console().print(table)


@app.command("show")
def show_(name: Name, as_json: AsJson = False) -> None:
    """A version's document, as YAML, and its life so far."""
    with database() as connection:
        version, changes = stored.version(connection, name), stored.changes(connection, name)
    if as_json:
        _print_json({**_without_document(version), "document": version.document})
        return
    typer.echo(yaml.safe_dump(dict(version.document), sort_keys=False, allow_unicode=True))
    table = Table("when (UTC)", "from", "to", "by", "why", title=f"Life of {name}")
    for change in changes:
        table.add_row(
            f"{change.changed_at:%Y-%m-%d %H:%M:%S}", change.from_status or "-",
            Text(change.to_status, COLOURS[change.to_status]), change.changed_by, change.reason,
        )  # fmt: skip
    Console().print(table)


@app.command()
def draft(
    file: Annotated[Path, typer.Argument(help="The rules in YAML.", exists=True, dir_okay=False)],
    reason: Reason = "drafted",
    by: By = ME,
) -> None:
    """Store a file as a draft, and show how it differs from what decides.

    The file says its version. Drafting that version again replaces the draft; a version that has
    left DRAFT is never changed.
    """
    with database() as connection:
        rules = from_file(file)
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        stored.draft(connection, rules.version, document, by, reason)
        _show_difference(rule_set(connection, None), rules)
    typer.echo(
        f"{rules.version} is a draft. Next: millrace backtest {file},"
        f" or millrace rules shadow {rules.version}"
    )


@app.command()
def shadow(name: Name, reason: Reason = "put in shadow", by: By = ME) -> None:
    """Evaluate a version beside the one that decides. Workers take it up within a second."""
    with database() as connection:
        rule_set(connection, name)
        stored.shadow(connection, name, by, reason)
    typer.echo(f"{name} is in shadow. Next: millrace rules report {name}")


@app.command()
def promote(name: Name, reason: Reason, by: By = ME, yes: Yes = False) -> None:
    """Let a version in shadow decide. Shows first what differs and what it would have changed."""
    with database() as connection:
        rules, before = rule_set(connection, name), rule_set(connection, None)
        _show_difference(before, rules)
        show(Console(), shadowing.report(connection, name), title=f"{name} in shadow")
        if not yes:
            typer.confirm(f"Let {name} decide in place of {before.version}?", abort=True)
        replaced = stored.promote(connection, name, by, reason, expected=before.version)
    typer.echo(f"{name} decides in place of {replaced}. Back again: millrace rules rollback")


@app.command()
def rollback(
    reason: Reason,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="One that decided once; the last, unless said."),
    ] = None,
    by: By = ME,
) -> None:
    """Back to the version that decided before; no question is asked."""
    with database() as connection:
        before = rule_set(connection, None)
        now = stored.roll_back(connection, by, reason, name)
        _show_difference(before, rule_set(connection, now))
    typer.echo(f"{now} decides again, in place of {before.version}")


@app.command()
def retire(name: Name, reason: Reason, by: By = ME) -> None:
    """Take a draft or a version in shadow out of the way."""
    with database() as connection:
        stored.retire(connection, name, by, reason)
    typer.echo(f"{name} is retired")


@app.command("diff")
def diff_(
    one: Annotated[str, typer.Argument(metavar="A", help="A version, or a YAML file.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Another; what decides, unless said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What changes from B to A. Exit code 1 when anything does."""
    with database() as connection:
        before, after = rule_set(connection, other), rule_set(connection, one)
    changes = [str(change) for change in diff(before, after)]
    if as_json:
        _print_json({"from": before.version, "to": after.version, "changes": changes})
    else:
        _show_difference(before, after)
    if changes:
        raise typer.Exit(1)


@app.command()
def report(
    name: Name,
    examples: Annotated[int, typer.Option(help="Changed decisions to show.", min=0)] = 10,
    as_json: AsJson = False,
) -> None:
    """What a version in shadow would have changed so far: reasons, amounts, days, examples."""
    with database() as connection:
        stored.version(connection, name)
        found = shadowing.report(connection, name, most_examples=examples)
    if as_json:
        _print_json(as_document(found))
    else:
        show(Console(), found, title=f"{name} in shadow")


def _show_difference(before: RuleSet, after: RuleSet) -> None:
    changes = [str(change) for change in diff(before, after)]
    typer.echo(f"{before.version} -> {after.version}: {len(changes) or 'no'} changes")
    for change in changes:
        typer.echo(f"  {change}")


def _without_document(version: stored.Version) -> dict[str, Any]:
    return {k: v for k, v in vars(version).items() if k != "document"}


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))
