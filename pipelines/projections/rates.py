"""When each provider quoted which rates, from the feed of its quotes, pure.

What a provider quoted at one moment is a snapshot of all its rates: a product that it leaves out is
no longer sold.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame

from pipelines import snapshots
from pipelines.snapshots import Seen

INPUTS = ("provider_rates",)
KEY = ("product", "currency")
VALUES = ("min_rate", "base_rate", "max_rate")


def rates(quotes: DataFrame) -> tuple[DataFrame, DataFrame]:
    """(intervals of rates, what became of each snapshot)."""
    spark = quotes.sparkSession
    rows = quotes.selectExpr("provider_id as scope", "observed_at as taken_at", *KEY, *VALUES)
    # As microseconds: a time that passes through Python takes the zone of the machine with it.
    counted = rows.groupBy("scope", "taken_at").count()
    seen = counted.selectExpr("scope", "unix_micros(taken_at)", "count").collect()
    judged = snapshots.judge(Seen(scope, moment, count) for scope, moment, count in seen)
    told = spark.createDataFrame(
        [(j.seen.scope, j.seen.moment, j.seen.rows, j.rank, j.reason) for j in judged],
        "scope string, moment bigint, rows bigint, rank int, reason string",
    ).selectExpr("scope", "timestamp_micros(moment) as taken_at", "rows", "rank", "reason")
    accepted = told.where("rank is not null").select("scope", "taken_at", "rank")
    of = snapshots.intervals(rows, accepted, KEY, VALUES)
    named = {"scope": "provider_id"}
    return of.withColumnsRenamed(named), told.withColumnsRenamed(named)


def by_name(tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """The two tables by their names."""
    of, told = rates(tables["provider_rates"])
    return {"provider_rate_intervals": of, "provider_rate_snapshots": told}
