"""A window in sums: what each hop has of it per key bucket, from one Spark job, whatever its size.

Input: the window's parts in one shape (FIELDS). Output: name of a sum -> key bucket -> Sum; equal
sums are equal sets of changes. A window that is too large to be brought is compared by these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, GroupedData, Window
from pyspark.sql import functions as F

from pipelines.certificate import canonical
from pipelines.certificate.sums import Sum

# A part's rows: changes at a hop, or the states that they left.
FIELDS = {
    "mark": "string",
    "key": "string",
    "lsn": "bigint",
    "op": "string",
    "digest": "bigint",
    "order": "bigint",
    # History: of its change; current: of what is published.
    "other": "bigint",
    "partition": "int",
    "offset": "bigint",
    "is_kept_out": "boolean",
    "is_unreadable": "boolean",
    "is_moved": "boolean",
    "is_last": "boolean",
    "is_new": "boolean",
}
ARRIVED, EXPECTED, HISTORY, CURRENT = "bronze", "expected", "history", "current"
Sums = Mapping[str, Mapping[int, Sum]]
_IDENTITY = ["key", "lsn", "op"]
_BUCKET = canonical.bucket_spark("key", canonical.WINDOW_BUCKETS)
# A change with its place in the order: what has to be the same where it is kept.
_WHOLE = "cast(xxhash64({}, key, lsn, op, `order`) as decimal(38,0))"
_EXACT = "cast({} as decimal(38,0))"


def tallied(arrived: DataFrame, expected: DataFrame | None, states: DataFrame | None) -> Sums:
    """Every sum of the window."""
    parts = [_of_arrived(arrived, is_expected=expected is None)]
    if expected is not None:
        conformed = expected.dropDuplicates(_IDENTITY).selectExpr(
            f"{_BUCKET} as bucket", f"{_WHOLE.format('digest')} as whole"
        )
        sums = {"expected": ("count(*)", "sum(whole)")}
        parts.append(_long(conformed.groupBy("bucket"), sums))
    if states is not None:
        kept_out = arrived.where("is_kept_out and not is_unreadable").select(*_IDENTITY).distinct()
        parts += [_of_history(states, kept_out), _of_current(states)]
    every = parts[0]
    for part in parts[1:]:
        every = every.unionAll(part)
    found: dict[str, dict[int, Sum]] = {}
    for name, bucket, count, total in every.where("count > 0").collect():
        found.setdefault(name, {})[bucket] = Sum(count, int(total or 0))
    return found


def with_moves(arrived: DataFrame) -> DataFrame:
    """The arrivals, each with whether it stands behind one that was committed after it."""
    own = Window.partitionBy(*_IDENTITY).orderBy("partition", "offset")
    is_first = F.row_number().over(own) == 1
    rows = arrived.withColumn("_first", is_first & ~F.col("is_unreadable"))
    before = (
        Window.partitionBy("partition").orderBy("offset").rowsBetween(Window.unboundedPreceding, -1)
    )
    position = F.when(F.col("_first"), F.struct("order", "lsn"))
    moved = F.coalesce(position < F.max(position).over(before), F.lit(False))
    return rows.withColumn("is_moved", moved).select(*FIELDS)


def of_buckets(rows: DataFrame, buckets: Sequence[int]) -> DataFrame:
    """Rows of some buckets; what has no key is not among them."""
    return rows.where(F.expr(_BUCKET).isin(list(buckets)))


def _of_arrived(arrived: DataFrame, *, is_expected: bool) -> DataFrame:
    """Each change once, as it came first, and what came again; what is unreadable is counted."""
    place = "xxhash64(partition, offset, digest, key, lsn, op, `order`)"
    firsts = arrived.groupBy(*_IDENTITY, "is_unreadable").agg(
        F.expr(
            "min_by(struct(digest, `order`, is_kept_out, partition, offset),"
            " struct(partition, offset)) as first"
        ),
        F.expr("count(*) as copies"),
        F.expr(f"sum({_EXACT.format(place)}) as places"),
        F.expr("min(digest) <> max(digest) as is_altered"),
    )
    before = (
        Window.partitionBy("first.partition")
        .orderBy("first.offset")
        .rowsBetween(Window.unboundedPreceding, -1)
    )
    position = F.when(~F.col("is_unreadable"), F.struct("first.order", "lsn"))
    rows = firsts.withColumn("is_moved", position < F.max(position).over(before)).selectExpr(
        f"coalesce({_BUCKET}, 0) as bucket",
        "not is_unreadable as is_read",
        "first.digest as digest",
        "not is_unreadable and first.is_kept_out as is_kept_out",
        "not is_unreadable and not first.is_kept_out as is_valid",
        "copies",
        "places",
        "not is_unreadable and is_altered as is_altered",
        "coalesce(is_moved, false) as is_moved",
        "cast(xxhash64(first.digest, key, lsn, op, first.order) as decimal(38,0)) as whole",
    )
    sums = {
        "bronze": ("count_if(is_read)", _sum_if("is_read", _EXACT.format("digest"))),
        "places": (_sum_if("is_read", "copies"), _sum_if("is_read", "places")),
        "duplicates": (_sum_if("is_read", "copies - 1"), "0"),
        "altered": ("count_if(is_altered)", "0"),
        "moved": ("count_if(is_moved)", "0"),
        "kept_out": ("count_if(is_kept_out)", "0"),
        "unreadable": (_sum_if("not is_read", "copies"), "0"),
    }
    if is_expected:
        sums["expected"] = ("count_if(is_valid)", _sum_if("is_valid", "whole"))
    return _long(rows.groupBy("bucket"), sums)


def _of_history(states: DataFrame, kept_out: DataFrame) -> DataFrame:
    kept_out = kept_out.withColumn("_is_explained", F.lit(True))
    own = states.where(F.col("mark") == HISTORY).join(kept_out, _IDENTITY, "left")
    rows = own.selectExpr(
        f"{_BUCKET} as bucket",
        "other",
        "op in ('c', 'u', 'd') as is_change",
        "is_new",
        "_is_explained is not null as is_explained",
        "is_last and is_new as is_last",
        f"{_WHOLE.format('other')} as change",
        f"{_WHOLE.format('digest')} as state",
    )
    silver = "is_change and is_new and not is_explained"
    return _long(
        rows.groupBy("bucket"),
        {
            "silver": (f"count_if({silver})", _sum_if(silver, "change")),
            "silver_digest": (
                f"count_if({silver})",
                _sum_if(silver, _EXACT.format("other")),
            ),
            "late": ("count_if(is_change and not is_new)", "0"),
            "last": ("count_if(is_last)", _sum_if("is_last", "state")),
        },
    )


def _of_current(states: DataFrame) -> DataFrame:
    rows = states.where(F.col("mark") == CURRENT).selectExpr(
        f"{_BUCKET} as bucket",
        "digest",
        "other",
        "is_new",
        f"{_WHOLE.format('digest')} as state",
        f"{placed('other', 'lsn', '`order`')} as placed",
    )
    return _long(
        rows.groupBy("bucket"),
        {
            "current": ("count_if(is_new)", _sum_if("is_new", "state")),
            "current_digest": (
                "count_if(is_new)",
                _sum_if("is_new", _EXACT.format("digest")),
            ),
            "shown": ("count(*)", f"sum({_EXACT.format('other')})"),
            "shown_places": ("count(*)", "sum(placed)"),
        },
    )


def _sum_if(condition: str, value: str) -> str:
    return f"sum(case when {condition} then {value} end)"


def placed(digest: str, lsn: str, order: str) -> str:
    """A state with its place in the order, as SQL that Spark and Postgres read alike."""
    weight = f"cast({digest} % 1000003 + 1 as decimal(8,0))"
    return f"{weight} * cast({lsn} + 3 * {order} as decimal(20,0))"


def _long(grouped: GroupedData, sums: Mapping[str, tuple[str, str]]) -> DataFrame:
    """One row a sum and bucket: name, bucket, count, total."""
    columns = [
        F.expr(text).alias(f"{name}_{part}")
        for name, pair in sums.items()
        for part, text in zip(("count", "total"), pair, strict=True)
    ]
    wide = grouped.agg(*columns)
    each = ", ".join(
        f"'{name}', cast({name}_count as bigint), cast({name}_total as decimal(38,0))"
        for name in sums
    )
    return wide.selectExpr("bucket", f"stack({len(sums)}, {each}) as (name, count, total)").select(
        "name", "bucket", "count", "total"
    )
