"""Rows a second from Arrow into the warehouse: our publish, against a plain COPY, stage and MERGE.

Ours compares the place of each row in the order of changes, keeps the watermark, and makes table
and columns when they are missing; the plain one matches keys and writes. The same 50,000 rows of
payments go into a table of 200,000, half of them new to it. A database of its own; about a minute.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from pyarrow import csv

from bench import captured
from bench.own_stack import own_stack
from bench.pairs import interleave, report
from pipelines import delta, publish
from schemas.contract import Contract

TABLE_ROWS, ROWS = 200_000, 50_000
TARGET = 0.8


def main() -> None:
    """Make the rows, start a database, measure both, stop it."""
    contract, rows = current_rows(TABLE_ROWS + ROWS // 2)
    with own_stack("postgres") as stack:
        dsn = {**stack.env, **stack.secrets}["MILLRACE_WAREHOUSE_DSN"]
        ours, plain = Ours(dsn, contract, rows), Plain(dsn, contract, rows)
        pairs = interleave(ours.rate, plain.rate)
        require_equal(dsn, contract)
        report("publish", pairs, target=TARGET, better="higher")


def current_rows(count: int) -> tuple[Contract, pa.Table]:
    """So many rows of the current table, as publish takes them from the lake."""
    with captured.spark_in() as (spark, place):
        source = captured.Captured(spark, place / "lake")
        source.land(captured.changes(spark, 1, count, "n", "'c'"))
        source.build()
        rows = publish.increment(spark, source.folder, source.contract, delta.NEVER)
    return source.contract, rows.sort_by("_lsn")


@dataclass
class Ours:
    """The publisher of the pipelines."""

    dsn: str
    contract: Contract
    rows: pa.Table
    tick: int = field(default=1, init=False)

    def rate(self) -> float:
        """Rows a second, into a table as it was before the first time."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"drop table if exists silver.{self.contract.entity}")
        publish.publish(self.dsn, self.contract, self._at(self.rows[:TABLE_ROWS]), self.tick)
        vacuum(self.dsn, f"silver.{self.contract.entity}")
        rows = self._at(self.rows[-ROWS:])
        began = time.perf_counter()
        publish.publish(self.dsn, self.contract, rows, self.tick)
        return ROWS / (time.perf_counter() - began)

    def _at(self, rows: pa.Table) -> pa.Table:
        self.tick += 1
        place = rows.schema.get_field_index("_tick")
        return rows.set_column(place, "_tick", pc.add(pc.multiply(rows["_tick"], 0), self.tick))


@dataclass
class Plain:
    """What anybody would write: a staging table, COPY, MERGE by key."""

    dsn: str
    contract: Contract
    rows: pa.Table

    def rate(self) -> float:
        """The same, into a table of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("create schema if not exists bench")
            connection.execute("drop table if exists bench.rows")
            connection.execute(
                f"create table bench.rows (like silver.{self.contract.entity} including all)"
            )
        self._load(self.rows[:TABLE_ROWS])
        vacuum(self.dsn, "bench.rows")
        began = time.perf_counter()
        self._load(self.rows[-ROWS:])
        return ROWS / (time.perf_counter() - began)

    def _load(self, rows: pa.Table) -> None:
        names, keys = rows.column_names, self.contract.key
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        with psycopg.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.execute("create temporary table stage (like bench.rows) on commit drop")
            out = io.BytesIO()
            csv.write_csv(rows, out)
            copy = sql.SQL("copy stage ({}) from stdin (format csv, header true)").format(columns)
            with cursor.copy(copy) as stream:
                stream.write(out.getbuffer())
            cursor.execute(
                sql.SQL(
                    "merge into bench.rows t using stage s on {} when matched then update set {}"
                    " when not matched then insert ({}) values ({})"
                ).format(
                    both(keys, " and ", "t.{0} = s.{0}"),
                    both([n for n in names if n not in keys], ", ", "{0} = s.{0}"),
                    columns,
                    both(names, ", ", "s.{0}"),
                )
            )


def both(names: list[str] | tuple[str, ...], between: str, text: str) -> sql.Composed:
    """The text for each name."""
    return sql.SQL(between).join(sql.SQL(text).format(sql.Identifier(name)) for name in names)


def vacuum(dsn: str, table: str) -> None:
    """What the rows before leave to be done is not measured."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"vacuum analyze {table}")


def require_equal(dsn: str, contract: Contract) -> None:
    """Both tables have the same rows, or the figures mean nothing."""
    names = ", ".join(c.name for c in publish.published(contract))
    ours, plain = (f"select {names} from {t}" for t in (f"silver.{contract.entity}", "bench.rows"))
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            f"select (select count(*) from ({ours} except all {plain}) a)"
            f" + (select count(*) from ({plain} except all {ours}) b),"
            " (select count(*) from bench.rows)"
        ).fetchone()
    assert found == (0, TABLE_ROWS + ROWS // 2), f"rows that differ, rows: {found}"


if __name__ == "__main__":
    main()
