"""Damage of the lake found, shown and healed, in the order in which one thing needs another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from millrace.lakehouse import Opened
from millrace.progress import bar
from pipelines import checking, delta_log
from pipelines import lake as places
from pipelines.checking import Damage
from schemas import contract as contracts


def check(folder: Path) -> list[Damage]:
    """Everything that is wrong, with a bar meanwhile."""
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task("checking", total=len(delta_log.tables(folder)))

        def told(table: str) -> None:
            progress.update(task, description=f"{table:40}", advance=1)

        return checking.check(folder, told)


def show(found: list[Damage], folder: Path) -> None:
    """What is wrong, a row each."""
    console = Console()
    console.width = max(console.width, 120)
    drawn = Table("table", "what", "where", "why", title="Damage", title_style="bold red")
    for damage in found:
        table, file = (
            p.relative_to(folder).as_posix() if p.is_relative_to(folder) else str(p)
            for p in (damage.table, damage.file)
        )
        drawn.add_row(table, damage.kind.value, file.removeprefix(f"{table}/"), damage.why)
    console.print(drawn)


def heal(lake: Opened, found: list[Damage]) -> Iterator[str]:
    """Bronze first, then what is made of it; a line for each thing that was made whole."""
    from pipelines import healing, rebuilding, recovering

    again: dict[str, list[str]] = {}
    for done in (
        *healing.heal_bronze(lake.spark, lake.folder, lake.settings.kafka, found),
        *healing.heal_quarantine(lake.spark, lake.folder, found),
        *healing.heal_projections(lake.folder, found),
    ):
        for entity, condition in done.again.items():
            again.setdefault(entity, []).append(condition)
        yield f"{done.what}: {done.how}"
    recovery = recovering.recover(lake.spark, lake.folder)
    if recovery.was_needed:
        yield f"bronze's checkpoint: made anew, goes on with batch {recovery.next_batch}"
    of_silver = [d for d in found if d.table.parent.parent == places.all_silver(lake.folder)]
    known = {contract.entity for contract in contracts.load_all()}
    due = {entity: " or ".join(conditions) for entity, conditions in again.items()
           if entity in known}  # fmt: skip
    if not of_silver and not due:
        return
    cut, schemas = lake.cut(), lake.schemas()
    with bar(Console(stderr=True)) as progress:

        def rebuild(entity: str) -> None:
            _described(progress, f"building {entity} anew")
            rebuilding.rebuild(lake.spark, lake.folder, contracts.load(entity), cut, schemas)

        yield from (f"{d.what}: {d.how}" for d in healing.heal_silver(lake.folder, found, rebuild))
        for entity, condition in due.items():
            _described(progress, f"{entity} again")
            contract = contracts.load(entity)
            result = rebuilding.replay(lake.spark, lake.folder, contract, cut, schemas, condition)
            yield (
                f"silver of {entity}: {result.rows_in:,} records taken again,"
                f" {result.changed:,} keys changed"
            )


def condition(
    since: datetime | None,
    until: datetime | None,
    batches: str | None,
    partition: int | None,
    offsets: str | None,
) -> str:
    """The bronze records that a replay is to take, as SQL."""
    if offsets and partition is None:
        raise typer.BadParameter("offsets are those of one partition: say --partition too")
    parts = ["true"]
    if since:
        parts.append(f"kafka_timestamp >= timestamp'{since.isoformat()}'")
    if until:
        parts.append(f"kafka_timestamp < timestamp'{until.isoformat()}'")
    if batches:
        parts.append("batch_id between {} and {}".format(*_range(batches)))
    if partition is not None:
        parts.append(f"partition = {partition}")
    if offsets:
        parts.append("offset between {} and {}".format(*_range(offsets)))
    return " and ".join(parts)


def _range(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    if not first.isdigit() or (dots and not last.isdigit()):
        raise typer.BadParameter(f"{text!r} is no range: write 10..20, or one number")
    return int(first), int(last or first)


def _described(progress: Progress, text: str) -> None:
    for task in progress.task_ids:
        progress.remove_task(task)
    progress.add_task(f"{text:40}", total=None)
