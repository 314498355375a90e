"""Read at a cut: the warehouse, the lake and Redis as they were at one moment of the source.

    with reading.warehouse(dsn, ("card_accounts", "ledger_postings")) as shown:
        rows = shown.rows(contract)                      # one REPEATABLE READ transaction
    frame = reading.lake_at(spark, lake, contract, shown.cut)    # any cut that silver has reached
    copies = copies_at.CopiesAtCut(...)                  # pipelines/copies_at.py

A read that cannot be had at the cut is refused and says why; it is never answered with another one.
Reads of several tables are consistent when they are at the same cut, whatever the stores.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import cdc, delta, lake, publish, visibility
from pipelines.cut import shaped_totals, table_totals
from pipelines.visibility import Cut
from schemas.contract import Contract

CUT = "select cut_id, lsn, snapshot, taken_at, totals, offsets from control.cuts where cut_id = "


class NotAtCut(LookupError):
    """The store cannot be read at that cut; the message says why and what can be read instead."""


@dataclass(frozen=True)
class KnownCut:
    """A cut with its number, and Kafka's offsets below which everything before it is."""

    cut_id: int
    cut: Cut
    offsets: Mapping[str, int] | None


@dataclass(frozen=True)
class Warehouse:
    """Published tables at one cut, in one transaction; `connection` may be asked anything more."""

    at: KnownCut
    connection: psycopg.Connection[Any]

    @property
    def cut(self) -> Cut:
        """The cut that the tables show."""
        return self.at.cut

    def rows(
        self, contract: Contract, keys: Sequence[Sequence[Any]] | None = None
    ) -> list[dict[str, Any]]:
        """The rows that there were, in the columns that are published; `keys` reads only those."""
        names = [c.name for c in publish.published(contract)]
        query = sql.SQL("select {} from {} where not _is_deleted").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.Identifier(publish.SCHEMA, contract.entity),
        )
        values: list[Any] = []
        if keys is not None and not keys:
            return []
        if keys is not None:
            key = sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier(name)) for name in contract.key
            )
            each = sql.SQL("({})").format(sql.SQL(", ").join([sql.SQL("%s")] * len(contract.key)))
            among = sql.SQL(", ").join([each] * len(keys))
            query += sql.SQL(" and ({}) in ({})").format(key, among)
            values = [str(value) for one in keys for value in one]
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values).fetchall()

    def totals(self, contract: Contract) -> dict[str, Any]:
        """Rows and money of a table, in the shape of the cut's own totals."""
        table = sql.Identifier(publish.SCHEMA, contract.entity)
        with self.connection.cursor() as cursor:
            return table_totals(cursor, contract, table, sql.SQL("not _is_deleted"))


@contextmanager
def warehouse(dsn: str, entities: Sequence[str], cut_id: int | None = None) -> Iterator[Warehouse]:
    """These published tables at the newest published cut, whoever publishes meanwhile.

    NotAtCut when one of them was held back, or when `cut_id` is not what they show: the warehouse
    keeps the newest cut only, older ones are in the lake.
    """
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield Warehouse(_shown(connection, entities, cut_id), connection)


def known(dsn: str, cut_id: int | None = None) -> KnownCut:
    """A cut by its number; without one the newest that is published."""
    with psycopg.connect(dsn) as connection:
        return _known(connection, cut_id)


def require_silver(dsn: str, cut_id: int, entities: Sequence[str]) -> None:
    """NotAtCut unless silver of all of them has reached the cut."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "select entity, cut_id from control.silver_cuts where entity = any(%s)",
            (list(entities),),
        ).fetchall()
    reached = {str(entity): int(at) for entity, at in found}
    behind = [e for e in entities if reached.get(e, 0) < cut_id]
    if behind:
        at = ", ".join(f"{e} ({reached.get(e) or 'never built'})" for e in behind)
        raise NotAtCut(f"silver has not reached cut {cut_id}: {at}; wait for the next tick")


def lake_at(
    spark: SparkSession,
    lake_folder: Path,
    contract: Contract,
    cut: Cut,
    keys: Sequence[Sequence[Any]] | None = None,
) -> DataFrame:
    """The rows that there were at the cut, restricted columns included, as the contract has them.

    Any cut that silver has reached, however old: history keeps every state. `keys` reads only
    those, each with the values of the contract's key.
    """
    names = [c.name for c in contract.columns]
    table = lake.history(lake_folder, contract)
    if not delta.exists(table):
        ddl = ", ".join(f"`{c.name}` {cdc.sql_type(c)}" for c in contract.columns)
        return spark.createDataFrame([], ddl)
    states = delta.read(spark, table)
    carried = [n for n in names if n in states.columns]
    if keys is not None:
        states = states.where(_is_one_of(contract, keys))
    # A change without a transaction (a recovery's delete) waits for no cut, but has its position.
    states = states.where(visibility.as_sql(cut, "_tx_id", "_op", "_lsn")).where(
        f"_tx_id is not null or _lsn is null or _lsn <= {cut.lsn}L"
    )
    order = F.struct(*cdc.ORDER)
    last = states.groupBy(*contract.key).agg(
        F.max_by(F.struct(*carried, "_is_deleted"), order).alias("_last")
    )
    return last.where("not _last._is_deleted").select(
        *(
            F.col(f"_last.{c.name}")
            if c.name in carried
            else F.lit(None).cast(cdc.sql_type(c)).alias(c.name)
            for c in contract.columns
        )
    )


def lake_totals(
    spark: SparkSession, lake_folder: Path, contract: Contract, cut: Cut
) -> dict[str, Any]:
    """Rows and money of an entity at the cut: `cut.totals`, unless rows are in quarantine."""
    group = "currency" if contract.money else "''"
    sums = [F.expr(f"sum(cast({name} as decimal(38,0)))").alias(name) for name in contract.money]
    rows = lake_at(spark, lake_folder, contract, cut)
    counted = rows.groupBy(F.expr(group).alias("_group")).agg(F.count("*").alias("_rows"), *sums)
    return shaped_totals(contract, [tuple(row) for row in counted.collect()])


def _shown(
    connection: psycopg.Connection[Any], entities: Sequence[str], cut_id: int | None
) -> KnownCut:
    behind = []
    found = connection.execute(
        "select entity, cut_id, newest_cut_id, held_back_by from control.shown_cuts"
    ).fetchall()
    shows = {entity: (cut, reason) for entity, cut, _, reason in found}
    newest = next((newest for *_, newest, _ in found), None)
    wanted = cut_id or newest
    if wanted is None:
        raise NotAtCut("no cut has been published yet: run `millrace demo`, or wait for a tick")
    for entity in entities:
        cut, reason = shows.get(entity, (None, "it has not been published"))
        if cut != wanted:
            why = f", held back by {reason}" if reason else ""
            behind.append(f"{entity} shows {f'cut {cut}' if cut else 'no cut'}{why}")
    if behind:
        raise NotAtCut(f"the warehouse does not show cut {wanted}: {'; '.join(behind)}")
    return _known(connection, wanted)


def _known(connection: psycopg.Connection[Any], cut_id: int | None) -> KnownCut:
    chosen = "%s" if cut_id else "(select max(cut_id) from control.published_cut)"
    row = connection.execute(CUT + chosen, (cut_id,) if cut_id else ()).fetchone()
    if row is None:
        raise NotAtCut(f"there is no cut {cut_id}" if cut_id else "no cut has been published yet")
    number, lsn, snapshot, taken_at, totals, offsets = row
    return KnownCut(int(number), Cut.from_snapshot(lsn, snapshot, taken_at, totals), offsets)


def _is_one_of(contract: Contract, keys: Sequence[Sequence[Any]]) -> Column:
    if len(contract.key) == 1:
        return F.col(contract.key[0]).isin([key[0] for key in keys])
    each = (
        functools.reduce(
            operator.and_,
            (F.col(name) == F.lit(value) for name, value in zip(contract.key, key, strict=True)),
        )
        for key in keys
    )
    return functools.reduce(operator.or_, each, F.lit(False))
