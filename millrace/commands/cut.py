"""`millrace cut`: the cut that readers see, and rows as they were at it, from every store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import psycopg
import redis
import typer
from rich.console import Console
from rich.table import Table

from millrace import lakehouse
from millrace.current import addresses
from orchestration.settings import Settings
from schemas.cached_rows import CACHED_ROWS
from schemas.contract import Contract

app = typer.Typer(help="The cut that readers see, and reads at a cut.", no_args_is_help=True)
As_json = Annotated[bool, typer.Option("--json", help="For programs.")]
At = Annotated[int | None, typer.Option("--cut", help="Its number; the newest published one.")]
CUTS = """
select c.cut_id, c.lsn, c.taken_at, p.published_at, p.rows, c.completed_at
from control.cuts as c left join control.published_cut as p using (cut_id)
order by c.cut_id desc limit %s
"""
TABLES = """
select s.entity, s.cut_id, s.lsn, s.taken_at, s.is_newest, s.held_back_by, b.cut_id
from control.shown_cuts as s left join control.silver_cuts as b using (entity)
order by s.entity
"""
MARTS = """
select mart, cut_id, complete_through_lsn, complete_through, is_one_cut, is_newest, behind,
    certified_cut_id
from gold_credit.mart_completeness order by mart
"""
WAREHOUSE, LAKE, REDIS = "warehouse", "lake", "redis"


@dataclass(frozen=True)
class Answer:
    """What one store says of a row at the cut: the row, none, or why it cannot say."""

    store: str
    row: Mapping[str, str] | None
    refused: str = ""


@app.command("list")
def list_(
    most: Annotated[int, typer.Option("--most", help="How many, newest first.")] = 20,
    as_json: As_json = False,
) -> None:
    """The newest cuts: where and when they were taken, and how far they have come."""
    with _warehouse() as connection:
        found = connection.execute(CUTS, (most,)).fetchall()
    names = ("cut", "lsn", "taken_at", "published_at", "rows", "completed_at")
    if as_json:
        _print_json([dict(zip(names, row, strict=True)) for row in found])
        return
    drawn = Table("cut", "LSN", "taken (UTC)", "published", "rows", "in gold", title="Cuts")
    for cut_id, lsn, taken_at, published_at, rows, completed_at in found:
        drawn.add_row(
            str(cut_id), _lsn(lsn), _when(taken_at), _when(published_at),
            "-" if rows is None else f"{rows:,}", _when(completed_at),
        )  # fmt: skip
    Console().print(drawn)


@app.command()
def show(as_json: As_json = False) -> None:
    """What readers see now: each published table and mart, and the cut that it shows.

    Exit code 1: one of them shows an older cut than the newest, or nothing is published.
    """
    with _warehouse() as connection:
        tables = connection.execute(TABLES).fetchall()
        has_marts = connection.execute("select to_regclass('gold_credit.mart_completeness')")
        marts = connection.execute(MARTS).fetchall() if has_marts.fetchone() != (None,) else []
    if as_json:
        names = ("entity", "cut", "lsn", "taken_at", "is_newest", "held_back_by", "silver_cut")
        _print_json({
            "tables": [dict(zip(names, row, strict=True)) for row in tables],
            "marts": [_mart(row) for row in marts],
        })  # fmt: skip
    else:
        console = Console()
        console.width = max(console.width, 120)
        console.print(_tables(tables))
        if marts:
            console.print(_marts(marts))
    behind = [row[0] for row in tables if not row[4]]
    behind += [row[0] for row in marts if not (row[4] and row[5])]
    if not tables:
        lakehouse.refuse("nothing has been published yet: run `millrace demo`, or wait for a tick")
    if behind:
        lakehouse.refuse(f"not at the newest cut: {', '.join(behind)}")


@app.command()
def read(
    entity: Annotated[str, typer.Argument(help="The table, as its contract is named.")],
    key: Annotated[str, typer.Argument(help="The row's key.")],
    at: At = None,
    as_json: As_json = False,
) -> None:
    """One row as it was at the cut, from the warehouse, the lake and Redis; they must be equal.

    Columns that may be published only. Exit code 1: two stores differ, or none can be read there.
    """
    from pipelines import reading

    contract = lakehouse.entity(entity)
    if len(contract.key) > 1:
        lakehouse.refuse(f"{entity} has a key of several columns: read it with pipelines.reading")
    settings = Settings()
    try:
        known = reading.known(settings.warehouse_dsn, at)
        with lakehouse.readable() as opened:
            answers = list(_answers(opened, contract, key, known))
    except (reading.NotAtCut, psycopg.OperationalError) as error:
        lakehouse.refuse(str(error).strip())
    said = [a for a in answers if not a.refused]
    differ = _differences(said)
    if as_json:
        stores = {a.store: {"row": a.row, "refused": a.refused or None} for a in answers}
        _print_json({"cut": known.cut_id, "stores": stores, "differ": differ})
    else:
        title = f"{entity} {key} at cut {known.cut_id} ({_lsn(known.cut.lsn)})"
        Console().print(_row(contract, title, answers, differ))
    if differ or not said:
        raise typer.Exit(1)


def _answers(opened: lakehouse.Opened, contract: Contract, key: str, at: Any) -> Iterator[Answer]:
    from pipelines import reading
    from pipelines.copies_at import CopiesAtCut

    settings, name = opened.settings, contract.key[0]
    lake: dict[str, dict[str, Any]] = {}
    try:
        with reading.warehouse(settings.warehouse_dsn, (contract.entity,), at.cut_id) as shown:
            rows = {str(row[name]): row for row in shown.rows(contract, [(key,)])}
        yield Answer(WAREHOUSE, _texts(contract, rows.get(key)))
    except reading.NotAtCut as error:
        yield Answer(WAREHOUSE, None, str(error))
    try:
        reading.require_silver(settings.warehouse_dsn, at.cut_id, (contract.entity,))
        found = reading.lake_at(opened.spark, opened.folder, contract, at.cut, [(key,)])
        # Arrow keeps the zone of a time; rows of Spark have this machine's.
        lake = {str(row[name]): row for row in found.toArrow().to_pylist()}
        yield Answer(LAKE, _texts(contract, lake.get(key)))
    except reading.NotAtCut as error:
        yield Answer(LAKE, None, str(error))
        return
    if contract.entity not in CACHED_ROWS:
        yield Answer(REDIS, None, "Redis holds no copies of this table")
        return
    client = redis.Redis.from_url(
        addresses("redis")["MILLRACE_REDIS"], decode_responses=True, socket_timeout=5
    )
    try:
        copies = CopiesAtCut(client, settings.kafka, at, lambda _, ids: lake)
        copy = copies.read(contract.entity, [key], wait_s=5)[key]
        refused = "" if copy.source == REDIS else "the copy is not of this cut: the lake answers"
        yield Answer(REDIS, copy.row, refused)
    except redis.RedisError as error:
        yield Answer(REDIS, None, str(error))
    finally:
        client.close()


def _differences(said: list[Answer]) -> list[str]:
    """Columns that two stores both have and say otherwise; `row` when only one has a row."""
    rows = [a.row for a in said]
    if any(row is None for row in rows):
        return ["row"] if any(row is not None for row in rows) else []
    names = {n for row in rows for n in row or ()}
    return sorted(n for n in names if len({row[n] for row in rows if row and n in row}) > 1)


def _texts(contract: Contract, row: Mapping[str, Any] | None) -> dict[str, str] | None:
    if row is None:
        return None
    public = [c for c in contract.columns if c.classification == "internal"]
    return {c.name: _text(c.type, row[c.name]) for c in public if row.get(c.name) is not None}


def _text(kind: str, value: Any) -> str:
    if kind == "json":
        found = json.loads(value) if isinstance(value, str) else value
        return json.dumps(found, sort_keys=True)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value).strip()


def _tables(found: list[Any]) -> Table:
    drawn = Table("table", "cut", "LSN", "taken (UTC)", "lake", "", title="Published tables")
    for entity, cut_id, lsn, taken_at, is_newest, held_back_by, silver_cut in found:
        why = f"held back by {held_back_by}" if held_back_by else "behind"
        drawn.add_row(
            entity, _number(cut_id), _lsn(lsn), _when(taken_at), _number(silver_cut),
            "" if is_newest else why, style=None if is_newest else "bold red",
        )  # fmt: skip
    return drawn


def _marts(found: list[Any]) -> Table:
    drawn = Table("mart", "cut", "LSN", "complete through (UTC)", "proven", "", title="Gold")
    for row in found:
        mart = _mart(row)
        is_whole = mart["is_one_cut"] and mart["is_newest"]
        why = f"behind in it: {mart['behind']}" if mart["behind"] else "not rebuilt"
        drawn.add_row(
            mart["mart"], _number(mart["cut"]), _lsn(mart["lsn"]), _when(mart["complete_through"]),
            _number(mart["certified_cut"]), "" if is_whole else why,
            style=None if is_whole else "bold red",
        )  # fmt: skip
    return drawn


def _mart(row: Any) -> dict[str, Any]:
    names = ("mart", "cut", "lsn", "complete_through", "is_one_cut", "is_newest", "behind",
             "certified_cut")  # fmt: skip
    return dict(zip(names, row, strict=True))


def _row(contract: Contract, title: str, answers: list[Answer], differ: list[str]) -> Table:
    drawn = Table("column", *(a.store for a in answers), title=title)
    for name in (c.name for c in contract.columns if c.classification == "internal"):
        cells = [(a.row or {}).get(name, "") for a in answers]
        drawn.add_row(name, *cells, style="bold red" if name in differ else None)
    said = [a.refused or ("" if a.row else "no such row") for a in answers]
    if any(said):
        drawn.add_section()
        drawn.add_row("", *said, style="bold red" if "row" in differ else None)
    return drawn


@contextmanager
def _warehouse() -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(Settings().warehouse_dsn, connect_timeout=5) as connection:
            yield connection
    except psycopg.OperationalError:
        lakehouse.refuse("the warehouse does not answer: is the stack up? (`millrace up`)")


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found, indent=1, default=str))


def _number(cut_id: int | None) -> str:
    return "-" if cut_id is None else str(cut_id)


def _lsn(position: int | None) -> str:
    return "-" if position is None else f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"
