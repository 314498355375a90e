"""The way of an import: read everything, check everything, and only then write.

Each row of the files is taken whole or not at all: when one of the rows it makes is refused, none
of them is written, nor what refers to it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg

from oltp import privacy
from oltp.importing import catalog, files, linking, parsing, runs, staging, writing
from oltp.importing.building import Batch, Builder
from oltp.importing.errors import FileError, ImportRefused, MappingError
from oltp.importing.files import Content
from oltp.importing.linking import Rows, reject
from oltp.importing.mapping import Mapping_, Target
from oltp.importing.rejection import Rejection

# Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
SHIPPED = Path(__file__).resolve().parents[1] / "mappings"
# Refused rows may be what others refer to; a mapping has no chain longer than its steps.
MAX_ROUNDS = 50


@dataclass
class Report:
    """What a run read, brought and left out. Rows that were there are counted, not new."""

    mapping: str
    read: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    run_id: UUID | None = None

    @property
    def rows_read(self) -> int:
        """All rows of all files."""
        return sum(self.read.values())

    @property
    def rows_known(self) -> int:
        """Rows of files of which everything was there before."""
        return sum(self.known.values())

    @property
    def rows_taken(self) -> int:
        """Rows of files that are in now and were not before."""
        return self.rows_read - self.rows_known - len(self.rejections)


def shipped() -> dict[str, Path]:
    """The mappings that come with the project, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def mapping_of(name: str | Path) -> Mapping_:
    """The mapping of a shipped name or a path; MappingError otherwise."""
    path = Path(name)
    known = shipped()
    if str(name) in known:
        path = known[str(name)]
    elif not path.exists():
        raise MappingError(f"{name} is neither a file nor one of {', '.join(known)}")
    return parsing.read(path)


def run(
    dsn: str,
    mapping: Mapping_ | str | Path,
    places: list[Path],
    vault: Callable[[], privacy.Vault],
    progress: Progress = lambda what, done, total: None,
    dry_run: bool = False,
) -> Report:
    """Import the files of `places`. ImportRefused when nothing can be; bad rows are reported."""
    if not isinstance(mapping, Mapping_):
        mapping = mapping_of(mapping)
    with _no_collecting(), psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            "select set_config('app.reason', %s, false)", (f"import {mapping.name}",)
        )
        facts = catalog.check(connection, mapping)
        report = Report(mapping.name)
        contents = _contents(mapping, places)
        rows = _read(mapping, contents, report, progress)
        batches = _checked(connection, mapping, facts, rows, vault, report, progress)
        report.rejections = _one_a_row(report.rejections)
        if not dry_run:
            _write(connection, mapping, contents, batches, report, progress)
    return report


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Rows by the hundred thousand are all kept: looking for garbage among them finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _contents(mapping: Mapping_, places: list[Path]) -> list[tuple[str, Content]]:
    is_only = len(mapping.sources) == 1
    found = {
        name: files.locate(source, places, is_only) for name, source in mapping.sources.items()
    }
    used = {path for paths in found.values() for path in paths}
    for path in places:
        if not path.is_dir() and path not in used:
            wanted = ", ".join(source.pattern for source in mapping.sources.values())
            raise FileError(f"{path} is none of the files of {mapping.name}: {wanted}")
    return [(name, files.content(path)) for name, paths in found.items() for path in paths]


def _read(
    mapping: Mapping_, contents: list[tuple[str, Content]], report: Report, progress: Progress
) -> Rows:
    rows: Rows = {name: [] for name in mapping.sources}
    for done, (name, content) in enumerate(contents):
        progress(f"reading {content.name}", done, len(contents))
        source = mapping.sources[name]
        found = files.read(source, content)
        report.read[name] = report.read.get(name, 0) + found.read
        report.rejections += found.rejections
        rows[name] += found.rows
    for name, source in mapping.sources.items():
        linking.number(rows[name], source)
        rows[name] = linking.without_repeats(source, rows[name], report.rejections)
    return rows


def _checked(
    connection: psycopg.Connection, mapping: Mapping_, facts: dict[str, catalog.TableFact],
    rows: Rows, vault: Callable[[], privacy.Vault], report: Report, progress: Progress,
) -> list[Batch]:  # fmt: skip
    """The batches of the rows that nothing and nobody refuses, staged."""
    builder = Builder(mapping, facts, vault)
    for _ in range(MAX_ROUNDS):
        world = linking.linked(mapping, rows, report.rejections)
        refused: list[Rejection] = []
        progress("checking", 0, 2)
        batches = builder.build(rows, world, refused)
        if not refused:
            for batch in batches:
                if batch.postings:
                    writing.in_order(batch)
            staging.stage(connection, batches, facts)
            progress("checking", 1, 2)
            refused = _refused(connection, mapping, batches, facts)
        if not refused:
            progress("checking", 2, 2)
            return batches
        report.rejections += refused
        _drop(rows, refused)
    raise ImportRefused(f"{mapping.name}: rows are still refused after {MAX_ROUNDS} rounds")


def _refused(
    connection: psycopg.Connection, mapping: Mapping_, batches: list[Batch],
    facts: dict[str, catalog.TableFact],
) -> list[Rejection]:  # fmt: skip
    """What the database would refuse, told of the source's row."""
    found = []
    for number, batch in enumerate(batches):
        for n, rule, columns, reason in staging.broken(connection, batches, facts, number):
            name, row = batch.origins[n]
            source = mapping.sources[name]
            column = _column_of(mapping, name, batch.table, columns)
            what = f"{reason}: {batch.table}.{', '.join(columns)}" if columns else reason
            found.append(reject(source, row, column, rule, what, True, batch.table))
    return found


def _column_of(mapping: Mapping_, source: str, table: str, columns: tuple[str, ...]) -> str:
    """The source's column that a broken rule is about, as far as one can say."""
    for step in mapping.steps:
        if isinstance(step, Target) and step.source == source and step.table == table:
            for column in columns:
                made = step.columns.get(column)
                if made and made.columns:
                    return sorted(made.columns)[0]
    return "-"


def _drop(rows: Rows, refused: list[Rejection]) -> None:
    bad = {(one.file, one.line) for one in refused}
    for name, found in rows.items():
        rows[name] = [row for row in found if (row[files.FILE], row[files.LINE]) not in bad]


def _one_a_row(rejections: list[Rejection]) -> list[Rejection]:
    """The first reason of each row, in the order of the files."""
    first: dict[tuple[str, int], Rejection] = {}
    for rejection in rejections:
        first.setdefault((rejection.file, rejection.line), rejection)
    return [first[key] for key in sorted(first)]


def _write(
    connection: psycopg.Connection, mapping: Mapping_, contents: list[tuple[str, Content]],
    batches: list[Batch], report: Report, progress: Progress,
) -> None:  # fmt: skip
    named = {content.name: content.sha256 for _, content in contents}
    mark = runs.fingerprint(mapping, contents)
    report.run_id = runs.begin(connection, mapping, mark, named, report.rejections)
    try:
        wrote = writing.write(connection, batches, progress)
    except psycopg.OperationalError:
        raise  # The connection is gone; the run stays RUNNING and is taken up by the next.
    except psycopg.Error as error:
        runs.fail(connection, report.run_id, str(error))
        raise
    except KeyboardInterrupt:
        runs.fail(connection, report.run_id, "stopped by its user")
        raise
    _count(batches, wrote, report)
    counts = {"read": report.rows_read, "taken": report.rows_taken, "known": report.rows_known,
              "rejected": len(report.rejections)}  # fmt: skip
    tables = {table: {"rows": n, "new": report.added[table]} for table, n in report.rows.items()}
    runs.end(connection, report.run_id, mapping, counts, {"files": named, "tables": tables})


def _count(batches: list[Batch], wrote: list[writing.Written], report: Report) -> None:
    """Rows by table, and by source the rows that were there: told by the first table they make."""
    for batch, written in zip(batches, wrote, strict=True):
        report.rows[batch.table] = report.rows.get(batch.table, 0) + written.rows
        report.added[batch.table] = report.added.get(batch.table, 0) + written.new
        if batch.is_one_a_row and batch.origins:
            report.known.setdefault(batch.origins[0][0], written.rows - written.new)
