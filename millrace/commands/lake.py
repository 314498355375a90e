"""`millrace lake`: what the tables take, their care, what is damaged, and making it whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from millrace import lake_repair, lakehouse
from millrace.progress import bar
from millrace.rulebook import moment

app = typer.Typer(help="The lake's tables: storage, care, damage, repair.", no_args_is_help=True)
As_json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def tables(as_json: As_json = False) -> None:
    """What every table takes: rows, files, bytes in use and on disk, versions."""
    from pipelines import care

    found = care.storage(lakehouse.folder())
    if as_json:
        typer.echo(json.dumps([asdict(table) for table in found], indent=1, default=str))
        return
    drawn = Table("table", title="Tables of the lake")
    for name in ("rows", "files", "small", "in use", "on disk", "version", "kept"):
        drawn.add_column(name, justify="right")
    drawn.add_column("last commit (UTC)")
    for table in found:
        if table.damage:
            drawn.add_row(table.name, *["?"] * 4, decimal(table.disk_bytes), "?", "?", table.damage,
                          style="bold red")  # fmt: skip
            continue
        drawn.add_row(
            table.name, f"{table.rows:,}", f"{table.files:,}", f"{table.small_files:,}",
            decimal(table.live_bytes), decimal(table.disk_bytes), str(table.version),
            str(table.versions_kept),
            f"{table.committed_at:%Y-%m-%d %H:%M:%S}" if table.committed_at else "-",
        )  # fmt: skip
    drawn.add_section()
    drawn.add_row(
        f"{len(found)} tables", f"{sum(t.rows for t in found):,}",
        f"{sum(t.files for t in found):,}", f"{sum(t.small_files for t in found):,}",
        decimal(sum(t.live_bytes for t in found)), decimal(sum(t.disk_bytes for t in found)),
    )  # fmt: skip
    _wide().print(drawn)


@app.command()
def care(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TABLE]...")] = None,
    keep_hours: Annotated[
        float | None,
        typer.Option(help="Keep old versions so long; what the table says, when not given."),
    ] = None,
) -> None:
    """Few files of many, a short log, no files that only forgotten versions need.

    Rows stay as they are, and readers go on. A table's writer is waited for.
    """
    from pipelines import care as caring
    from pipelines import delta_log

    place = lakehouse.folder()
    every = {path.relative_to(place).as_posix(): path for path in delta_log.tables(place)}
    unknown = sorted(set(names or ()) - set(every))
    if unknown:
        raise typer.BadParameter(f"no table {', '.join(unknown)}; see `millrace lake tables`")
    chosen = names or list(every)
    done = []
    with lakehouse.opened("care") as lake, bar(Console(stderr=True)) as progress:
        task = progress.add_task("caring", total=len(chosen))
        for name in chosen:
            progress.update(task, description=f"{name:40}")
            done.append(caring.care(lake.spark, lake.folder, every[name], keep_hours))
            progress.advance(task)
    drawn = Table("table", title="Cared for")
    for heading in ("files before", "files now", "freed"):
        drawn.add_column(heading, justify="right")
    for one in done:
        freed = decimal(one.bytes_freed) if one.bytes_freed > 0 else "-"
        drawn.add_row(one.name, f"{one.files_before:,}", f"{one.files_after:,}", freed)
    _wide().print(drawn)


@app.command()
def check(as_json: As_json = False) -> None:
    """Is every file there and as it was written? Reads every byte; exit code 1 when not.

    Also that bronze has each place of each Kafka partition once, without a gap, and that its
    checkpoint fits it.
    """
    found = lake_repair.check(lakehouse.folder())
    if as_json:
        typer.echo(json.dumps([asdict(damage) for damage in found], indent=1, default=str))
    elif found:
        lake_repair.show(found, lakehouse.folder())
        typer.echo("`millrace lake heal` makes it whole.")
    else:
        typer.echo("Every file of the lake is there and as it was written.")
    if found:
        raise typer.Exit(1)


@app.command()
def recover(
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Also what Kafka lost before bronze had read it.")
    ] = False,
) -> None:
    """Give bronze a checkpoint that fits it, made from its own last offsets.

    Nothing is read twice and nothing left out; a checkpoint that fits is left alone. What Kafka no
    longer has stops bronze until it is given up: then snapshot those tables again.
    """
    from pipelines import recovering

    with lakehouse.opened("recover") as lake:
        gone_from = lake.settings.kafka if give_up else None
        done = recovering.recover(lake.spark, lake.folder, gone_from)
    if not done.was_needed:
        typer.echo("Nothing to recover: the checkpoint fits the table.")
        return
    typer.echo(f"why: {done.reason}")
    typer.echo(f"reading goes on after {done.partitions} partitions' last offsets, with batch"
               f" {done.next_batch}")  # fmt: skip
    for topic, partition, start, end in done.lost:
        typer.echo(f"given up: {topic} {partition}@{start}..{end - 1}; snapshot the table again")
    if done.aside:
        typer.echo(f"the old checkpoint is kept in {done.aside}")


@app.command()
def heal() -> None:
    """Make whole what `check` finds: bronze from Kafka, silver from bronze.

    What was damaged is kept in the lake's folder `aside`. Exit code 1 when something stays damaged.
    """
    place = lakehouse.folder()
    found = lake_repair.check(place)
    if not found:
        typer.echo("Nothing to heal: every file of the lake is there and as it was written.")
        return
    lake_repair.show(found, place)
    with lakehouse.opened("heal") as lake:
        for line in lake_repair.heal(lake, found):
            typer.echo(line)
    left = lake_repair.check(place)
    if left:
        lake_repair.show(left, place)
        typer.echo("This could not be healed.", err=True)
        raise typer.Exit(1)
    typer.echo("Every file of the lake is there and as it was written.")


@app.command()
def replay(
    entity: Annotated[str, typer.Argument(help="The entity, as its contract is called.")],
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="MOMENT", help="From this time in Kafka,"),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", parser=moment, metavar="MOMENT", help="to before it.")
    ] = None,
    batches: Annotated[
        str | None, typer.Option(metavar="A..B", help="Only these batches of bronze.")
    ] = None,
    partition: Annotated[int | None, typer.Option(help="Only this Kafka partition,")] = None,
    offsets: Annotated[
        str | None, typer.Option(metavar="A..B", help="and only these offsets of it.")
    ] = None,
) -> None:
    """Take a range of an entity's bronze records into silver once more; all without options.

    Silver that is right does not change: a change it has is the same state again.
    """
    from pipelines import rebuilding

    contract = lakehouse.entity(entity)
    condition = lake_repair.condition(since, until, batches, partition, offsets)
    with lakehouse.opened("replay") as lake:
        done = rebuilding.replay(
            lake.spark, lake.folder, contract, lake.cut(), lake.schemas(), condition
        )
    typer.echo(
        f"{entity}: {done.rows_in:,} records taken again, {done.changed:,} keys changed,"
        f" {done.quarantined:,} quarantined"
        + (f", {done.waiting:,} wait for the next cut" if done.waiting else "")
    )


@app.command()
def rebuild(
    entities: Annotated[list[str] | None, typer.Argument(metavar="[ENTITY]...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every captured table.")] = False,
) -> None:
    """Build silver anew from all of bronze and compare it with what it was, by checksum.

    Exit code 1 when they differ: then what is there now is right, and the next run publishes it.
    """
    from pipelines import rebuilding
    from schemas import contract as contracts

    if bool(entities) == everything:
        raise typer.BadParameter("name entities, or --all")
    chosen = [lakehouse.entity(name) for name in entities or ()] or list(contracts.load_all())
    done = []
    with lakehouse.opened("rebuild") as lake, bar(Console(stderr=True)) as progress:
        cut, schemas = lake.cut(), lake.schemas()
        task = progress.add_task("rebuilding", total=len(chosen))
        for contract in chosen:
            progress.update(task, description=f"{contract.entity:32}")
            done.append(rebuilding.rebuild(lake.spark, lake.folder, contract, cut, schemas))
            progress.advance(task)
    drawn = Table("entity", title="Built anew")
    for heading in ("records", "keys", "quarantined"):
        drawn.add_column(heading, justify="right")
    drawn.add_column("as before")
    said: dict[Any, str] = {True: "yes", False: "NO", None: "was not readable, or not there"}
    for one in done:
        drawn.add_row(
            one.entity, f"{one.result.rows_in:,}", f"{one.result.changed:,}",
            f"{one.result.quarantined:,}", said[one.is_equal],
            style="bold red" if one.is_equal is False else None,
        )  # fmt: skip
    _wide().print(drawn)
    if any(one.is_equal is False for one in done):
        raise typer.Exit(1)


def _wide() -> Console:
    console = Console()
    console.width = max(console.width, 120)
    return console
