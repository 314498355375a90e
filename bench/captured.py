"""Captured changes of one table made up by the hundred thousand: real Avro envelopes in bronze."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import to_avro

from pipelines import bronze, delta, lake, refresh, session
from pipelines.settings import Settings
from pipelines.visibility import Cut
from schemas import contract as contracts
from tests.pipelines.conftest import Source

# Every transaction of the changes is in it.
EVERYTHING = Cut.from_snapshot(10**12, "1000:1000:")
# Which of the table's columns say what changed, and when.
AMOUNT, CHANGED = "paid_amount_minor", "updated_at"
ENTITY = "payments"
_SPARK_TYPES = {"long": "bigint", "integer": "int", "date": "int", "boolean": "boolean"}


@contextmanager
def spark_in(memory: str = "4g") -> Iterator[tuple[SparkSession, Path]]:
    """The session that the pipelines use, and a folder for lakes that is gone afterwards."""
    with TemporaryDirectory(prefix="millrace-bench-") as folder:
        place = Path(folder)
        settings = Settings(lake=place / "lake", spark_driver_memory=memory)
        spark = session.build(settings)
        try:
            yield spark, place
        finally:
            spark.stop()


class Captured:
    """The payments of a lender as capture brings them, in a lake of their own."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.contract = contracts.load(ENTITY)
        self._source = Source(spark, folder, self.contract)
        self.schemas = self._source.schemas
        self.offset, self.batch = 0, 0

    def land(self, changes: DataFrame) -> None:
        """Append one batch of bronze. `changes`: id, op, lsn (its commit as well), tx."""
        topic, first = self.contract.topic, self.offset
        rows = changes.select(
            F.lit(topic).alias("topic"),
            F.lit(0).alias("partition"),
            (F.row_number().over(Window.orderBy("lsn")) + first).cast("long").alias("offset"),
            self._wire(self._key(), self._source.key_id).alias("key"),
            self._wire(self._envelope(), self._source.value_id).alias("value"),
            F.current_timestamp().alias("timestamp"),
            F.expr("cast(null as array<struct<key:string,value:binary>>)").alias("headers"),
        )
        checkpoint = lake.bronze_checkpoint(self.folder)
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "metadata").write_text('{"id": "bench"}')
        self.offset += delta.append(
            bronze.shaped(rows, self.batch).coalesce(2),
            lake.bronze(self.folder),
            delta.Mark(bronze.source(self.folder), self.batch),
            partition_by=("entity",),
            statistics=bronze.STATISTICS,
        )
        self.batch += 1

    def schema(self, schema_id: int) -> str:
        """As the registry would tell it."""
        return self.schemas[schema_id]

    def build(self) -> refresh.SilverResult:
        """Bring silver to everything that has landed."""
        return refresh.build_silver(self.spark, self.folder, self.contract, EVERYTHING, self.schema)

    def _wire(self, record: Column, schema_id: int) -> Column:
        head = F.expr(f"unhex(lpad(hex({schema_id}), 10, '0'))")
        return F.concat(head, to_avro(record, self.schemas[schema_id]))

    def _key(self) -> Column:
        return F.struct(*(_of_row(name).alias(name) for name in self.contract.key))

    def _envelope(self) -> Column:
        row = self._source.row(1)
        own = {
            **{name: _of_row(name) for name in self.contract.key},
            AMOUNT: F.col("lsn") % 90,
            CHANGED: F.date_format(
                F.timestamp_seconds(1_767_225_600 + F.col("lsn")), "yyyy-MM-dd'T'HH:mm:ss'Z'"
            ),
        }
        columns = [
            own.get(c.name, F.lit(row[c.name])).cast(_SPARK_TYPES.get(c.type, "string"))
            .alias(c.name)
            for c in self.contract.columns
        ]  # fmt: skip
        after = F.struct(*columns)
        schema, table = self.contract.source.split(".")
        lsn = F.col("lsn").cast("string")
        source = {
            "version": F.lit("3.7.0.Final"),
            "connector": F.lit("postgresql"),
            "name": F.lit("oltp"),
            "ts_ms": 1_767_225_600_000 + F.col("lsn"),
            "snapshot": F.lit("false"),
            "db": F.lit("oltp"),
            "sequence": F.format_string('["%s","%s"]', lsn, lsn),
            "schema": F.lit(schema),
            "table": F.lit(table),
            "txId": F.col("tx").cast("long"),
            "lsn": F.col("lsn").cast("long"),
            "xmin": F.lit(None).cast("long"),
        }
        return F.struct(
            F.when(F.col("op") != "d", after).alias("after"),
            F.struct(*(value.alias(name) for name, value in source.items())).alias("source"),
            F.col("op").alias("op"),
            F.lit(0).cast("long").alias("ts_ms"),
        )


def changes(
    spark: SparkSession, first_lsn: int, count: int, key: str, op: str = "'u'"
) -> DataFrame:
    """`count` changes one after the other; `key` and `op` are SQL over `n`, from 0."""
    return spark.range(count).selectExpr("id as n").selectExpr(
        f"cast({key} as bigint) as id", f"{op} as op", f"n + {first_lsn} as lsn", "5 as tx"
    )  # fmt: skip


def _of_row(name: str) -> Column:
    return F.format_string("00000000-0000-4000-8000-%012d", F.col("id"))
