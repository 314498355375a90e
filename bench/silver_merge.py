"""Bronze to silver, rows a second: ours, a key-only MERGE per batch, and DuckDB.

The load: 200,000 changes of 100,000 payments in ten batches, a tenth of them captured twice and
some of them deletes, on a table that has these payments. All three end with the same current rows.

Ours brings current and history to the last batch in one build, judges every row by its contract
and keeps what breaks it. The MERGE is what tutorials show: decode the batch, the last change of a
key by row_number, MERGE by key; it keeps no history. DuckDB does what ours does (duplicates, order,
validity intervals, the last state, the contract's rules) on the changes decoded beforehand, and
writes Parquet: it is spared the Avro. Everything warm. About six minutes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from bench import captured
from bench.pairs import interleave, report
from pipelines import delta, lake
from schemas.contract import Contract

KEYS, CHANGES, BATCHES, TWICE_IN = 100_000, 200_000, 10, 10
TARGET, TARGET_DUCKDB = 4.0, 4.0
ROUNDS = 3
AVRO_HEADER_BYTES = 5
MILLION = 1_000_000


def main() -> None:
    """Make the lake once; each run starts from a copy of it."""
    with captured.spark_in() as (spark, place):
        contenders = Contenders(spark, place)
        pairs = interleave(contenders.ours, contenders.merge, ROUNDS)
        contenders.require_equal("merged")
        print("seconds for a million records:")
        against_duckdb = interleave(
            lambda: MILLION / contenders.ours(), lambda: MILLION / contenders.duckdb(), ROUNDS
        )
        contenders.require_equal("duckdb")
    report("silver_merge.duckdb", against_duckdb, target=TARGET_DUCKDB, better="lower")
    report("silver_merge", pairs, target=TARGET, better="higher")


class Contenders:
    """The same bronze for all, with silver as it was before the changes."""

    def __init__(self, spark: SparkSession, place: Path) -> None:
        self.spark, self.place = spark, place
        self.source = captured.Captured(spark, place / "lake")
        self.contract = self.source.contract
        self.source.land(captured.changes(spark, 1, KEYS, "n", "'c'"))
        self.source.build()
        self.before = place / "before"
        shutil.copytree(lake.silver(self.source.folder, self.contract), self.before)
        each = CHANGES // BATCHES
        for number in range(BATCHES):
            self.source.land(self._batch(10**9 + number * each, each))
        self.decoded = self._decode_for_duckdb()

    def _batch(self, first_lsn: int, count: int) -> DataFrame:
        """Changes of keys drawn evenly, some of them deletes; every tenth comes once more."""
        key, op = f"pmod(xxhash64(n, {first_lsn}), {KEYS})", "if(n % 50 = 0, 'd', 'u')"
        own = captured.changes(self.spark, first_lsn, count, key, op)
        return own.unionAll(own.where(f"lsn % {TWICE_IN} = 0")).localCheckpoint()

    def ours(self) -> float:
        """Rows a second of one build."""
        silver = lake.silver(self.source.folder, self.contract)
        shutil.rmtree(silver)
        shutil.copytree(self.before, silver)
        began = time.perf_counter()
        done = self.source.build()
        taken = time.perf_counter() - began
        assert done.rows_in == self._records, done
        return done.rows_in / taken

    def merge(self) -> float:
        """Rows a second of one MERGE a batch."""
        table = self.place / "merged"
        shutil.rmtree(table, ignore_errors=True)
        shutil.copytree(self.before / "current", table)
        began = time.perf_counter()
        for number in range(1, BATCHES + 1):
            self._merge_batch(table, number)
        return self._records / (time.perf_counter() - began)

    def duckdb(self) -> float:
        """The same, in DuckDB."""
        out = self.place / "duckdb"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        began = time.perf_counter()
        with duckdb.connect() as connection:
            connection.execute("set threads = 2; set timezone = 'UTC'")
            history = self._live_files(self.before / "history")
            for statement in duckdb_statements(self.contract, self.decoded, history, out):
                connection.execute(statement)
        return self._records / (time.perf_counter() - began)

    def require_equal(self, other: str) -> None:
        """The other's current rows are ours, or its figure means nothing."""
        names = [c.name for c in self.contract.columns]
        ours = delta.read(self.spark, lake.current(self.source.folder, self.contract))
        if other == "duckdb":
            theirs = self.spark.read.parquet(str(self.place / "duckdb" / "current.parquet"))
            past = self.spark.read.parquet(str(self.place / "duckdb" / "history.parquet"))
            own = delta.read(self.spark, lake.history(self.source.folder, self.contract))
            assert past.count() == own.count(), (past.count(), own.count())
        else:
            theirs = delta.read(self.spark, self.place / other)
        sums = [
            frame.where("not _is_deleted")
            .select(F.count("*"), F.sum(F.xxhash64(*names).cast("decimal(38,0)")))
            .collect()
            for frame in (ours, theirs)
        ]
        assert sums[0] == sums[1], sums

    @property
    def _records(self) -> int:
        return CHANGES + CHANGES // TWICE_IN

    def _of_batches(self, condition: str) -> DataFrame:
        """Decoded changes of bronze, as anybody would read them."""
        bronze = delta.read(self.spark, lake.bronze(self.source.folder))
        body = F.expr(f"substring(value, {AVRO_HEADER_BYTES + 1})")
        schema = next(s for s in self.source.schemas.values() if "Envelope" in s)
        key = next(s for s in self.source.schemas.values() if '"name": "Key"' in s)
        rows = bronze.where(condition).select(
            from_avro(body, schema).alias("e"),
            from_avro(F.expr(f"substring(key, {AVRO_HEADER_BYTES + 1})"), key).alias("k"),
            "offset",
        )
        others = [c for c in self.contract.columns if c.name not in self.contract.key]
        return rows.select(
            *(F.col(f"k.{name}").alias(name) for name in self.contract.key),
            *(_typed(c.name, c.type) for c in others),
            (F.col("e.op") == "d").alias("_is_deleted"),
            F.col("e.op").alias("_op"),
            F.col("e.source.lsn").alias("_lsn"),
            F.expr("timestamp_millis(e.source.ts_ms)").alias("_changed_at"),
            "offset",
        )

    def _merge_batch(self, table: Path, number: int) -> None:
        changes = self._of_batches(f"batch_id = {number}")
        last = Window.partitionBy(*self.contract.key).orderBy(F.col("_lsn").desc())
        rows = changes.withColumn("_n", F.row_number().over(last)).where("_n = 1").drop("_n")
        on = " and ".join(f"t.{name} = s.{name}" for name in self.contract.key)
        names = [c.name for c in self.contract.columns] + ["_is_deleted", "_op", "_lsn"]
        values = {name: f"s.{name}" for name in names}
        (
            DeltaTable.forPath(self.spark, str(table))
            .alias("t")
            .merge(rows.alias("s"), on)
            .whenMatchedUpdate(set=values)  # type: ignore[arg-type]
            .whenNotMatchedInsert(values=values)  # type: ignore[arg-type]
            .execute()
        )

    def _decode_for_duckdb(self) -> str:
        folder = self.place / "decoded"
        self._of_batches("batch_id > 0").write.parquet(str(folder))
        return f"{folder}/*.parquet"

    def _live_files(self, table: Path) -> str:
        paths = delta.read(self.spark, table).inputFiles()
        return "[" + ", ".join(f"'{path.removeprefix('file://')}'" for path in paths) + "]"


def _typed(name: str, kind: str) -> Column:
    value = F.col(f"e.after.{name}")
    if kind == "date":
        value = F.expr(f"date_from_unix_date(e.after.{name})")
    if kind == "timestamp":
        value = value.cast("timestamp")
    return value.alias(name)


def duckdb_statements(contract: Contract, decoded: str, history: str, out: Path) -> Iterator[str]:
    """SQL that judges, orders and dates the changes among what history has of their keys."""
    names = ", ".join(c.name for c in contract.columns)
    key = ", ".join(contract.key)
    others = [c.name for c in contract.columns if c.name not in contract.key]
    # A delete carries its key alone: the values before it stand.
    filled = ", ".join(
        f"coalesce({n}, last_value({n} ignore nulls) over past) as {n}" for n in others
    )
    rules = [f"{c.name} is not null" for c in contract.columns if c.required]
    rules += [f"regexp_matches({c.name}, '{c.pattern}')" for c in contract.columns if c.pattern]
    rules += [f"{c.name} >= {c.minimum}" for c in contract.columns if c.minimum is not None]
    yield (
        f"create temp table changes as select {names}, _is_deleted, _op, _lsn, _changed_at"
        f" from read_parquet('{decoded}') where _is_deleted or ({' and '.join(rules)})"
        f' qualify row_number() over (partition by {key}, _lsn order by "offset") = 1'
    )
    yield (
        f"create temp table others as select * from read_parquet({history})"
        f" anti join changes using ({key})"
    )
    plain = f"{names}, _is_deleted, _op, _lsn, _changed_at"
    yield (
        f"create temp table states as with known as (select {plain} from read_parquet({history})"
        f" semi join changes using ({key})), together as (select * from changes union all"
        f" select * from known), carried as (select {key}, {filled}, _is_deleted, _op, _lsn,"
        f" _changed_at from together window past as (partition by {key} order by _lsn)),"
        " dated as (select *, max(_changed_at) over past as _valid_from from carried"
        f" window past as (partition by {key} order by _lsn))"
        " select *, lead(_valid_from) over later as _valid_to,"
        " lead(1) over later is null as _is_current from dated"
        f" window later as (partition by {key} order by _lsn)"
    )
    yield (
        "copy (select * from states union all by name select * from others)"
        f" to '{out}/history.parquet'"
    )
    yield (
        "copy (select * exclude (_valid_from, _valid_to, _is_current) from states"
        " where _is_current union all by name select * from others where _is_current)"
        f" to '{out}/current.parquet'"
    )


if __name__ == "__main__":
    main()
