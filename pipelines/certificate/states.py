"""Whole tables at a cut: what is live in the source, in silver and in the warehouse, as sums.

Input: the tables. Output: count and digest per key bucket, and key by key where a bucket differs.
Costs what the tables cost: it makes the base of a certificate, and proves the whole on request.
"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import delta, delta_log, lake
from pipelines.certificate import canonical, reading_back
from pipelines.certificate.comparing import Figures, Verdict
from pipelines.certificate.drilling import ALTERED, EXTRA, MISSING, Break
from pipelines.certificate.sums import Sum, total
from schemas.contract import Contract

# A row that is marked as deleted by its own columns is still a row of the source.
LIVE = "_op not in ('d', 't')"


def based(spark: SparkSession, folder: Path, contract: Contract, told: Sum) -> Verdict:
    """The first certificate of a table: its rows in the cut's snapshot are silver's live rows."""
    table = lake.current(folder, contract)
    has = Sum()
    if delta.exists(table):
        rows = delta_log.read(table).rows
        own = reading_back.session(spark, folder, contract, rows)
        has = total(sums(reading_back.rows(own, table, contract).where(LIVE), contract).values())
    hops = {
        "source": Figures(told.changes, told.digest),
        "current": Figures(has.changes, has.digest),
    }
    if has == told:
        return Verdict(contract.entity, hops)
    kept_out = _kept_out(spark, folder, contract)
    rows = abs(told.changes - has.changes)
    kind = MISSING if told.changes > has.changes else EXTRA if rows else ALTERED
    hops["current"] = Figures(has.changes, has.digest, quarantined=kept_out)
    # Which keys: `millrace certify --full` reads both sides again, key by key.
    found = Break(contract.entity, "current", kind, rows, "", "", 0, 0, is_lawful=rows <= kept_out)
    return Verdict(contract.entity, hops, (found,))


def sums(rows: DataFrame, contract: Contract, text: str | None = None) -> dict[int, Sum]:
    """Count and digest per key bucket of rows in the contract's columns."""
    of_row = text or canonical.row_text_spark(contract, [c.name for c in contract.columns])
    bucket = canonical.bucket_spark(canonical.key_text_spark(contract))
    digests = rows.selectExpr(
        f"{bucket} as bucket", f"cast({canonical.digest_spark(of_row)} as decimal(38,0)) as digest"
    )
    grouped = digests.groupBy("bucket").agg(F.count("*"), F.sum("digest")).collect()
    return {bucket: Sum(count, int(digest)) for bucket, count, digest in grouped}


def _kept_out(spark: SparkSession, folder: Path, contract: Contract) -> int:
    """Keys of the table that quarantine has rows of."""
    table = lake.quarantine(folder)
    if not delta.exists(table):
        return 0
    own = delta.read(spark, table).where(F.col("entity") == contract.entity)
    return own.select("key").distinct().count()
