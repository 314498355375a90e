"""Events of bronze as typed rows, pure: decode with the writer's schema, visibility in a cut.

One row an event: who and what it is about, the ids that link it to others, its own fields as JSON,
and where it stands: the transaction that announced it and its place in the log, from the headers.
An event that cannot be read keeps its place and says why in `problem`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.avro.functions import from_avro

from pipelines.visibility import Cut
from schemas.events import ENVELOPE

# Ids that a payload may carry, beside the aggregate's own.
LINKS = ("application_id", "offer_id", "credit_id")
_TEXTS = ("event_id", "aggregate_id", "correlation_id", "causation_id", "actor_id")
# Nothing of a microsecond is lost, and what is told to be nothing is not left out.
_JSON = "map('timestampFormat', \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\", 'ignoreNullFields', 'false')"


def decoded(bronze: DataFrame, schemas: Mapping[int, str | None], cut: Cut) -> DataFrame:
    """The events of bronze rows; None as schema marks an id that the registry does not know."""
    read = {i: text for i, text in schemas.items() if text}
    frame = bronze.select(
        "*",
        *(
            F.when(
                F.col("value_schema_id") == i,
                from_avro(F.expr("substring(value, 6)"), text, {"mode": "PERMISSIVE"}),
            ).alias(f"_e{i}")
            for i, text in read.items()
        ),
    )
    branches = [_branch(i, frame.schema[f"_e{i}"].dataType) for i in read]
    case = f"case value_schema_id {' '.join(branches)} else {_shape()} end"
    known = ", ".join(map(str, read)) or "-1"
    about = "split(entity, '[.]')[1]"
    return (
        frame.withColumn("_n", F.expr(case if branches else _shape()))
        .selectExpr(
            "entity as event",
            *(f"_n.{name}" for name in _TEXTS),
            *(
                f"coalesce(case when {about} = '{name.removesuffix('_id')}'"
                f" then _n.aggregate_id end, _n.{name}) as {name}"
                for name in LINKS
            ),
            "_n.occurred_at",
            "_n.payload",
            f"{_header('tx_id')} as tx_id",
            f"coalesce({_header('lsn')}, 0L) as lsn",
            "case when value_schema_id is null then 'wire_format'"
            f" when value_schema_id not in ({known}) then 'unknown_schema'"
            " when _n.event_id is null then 'undecodable' end as problem",
            "topic",
            "partition",
            "offset",
            "batch_id",
        )
        .withColumn("_visible", F.expr(_visible(cut)))
    )


def _branch(schema_id: int, kind: T.DataType) -> str:
    """The event of this writer schema in the shape of `_shape`."""
    names = kind.fieldNames() if isinstance(kind, T.StructType) else []
    if not set(ENVELOPE) <= set(names):
        return f"when {schema_id} then {_shape()}"
    e = f"_e{schema_id}"
    own = [name for name in names if name not in ENVELOPE]
    fields = ", ".join(f"'{name}', {e}.`{name}`" for name in own)
    values = {name: f"{e}.{name}" for name in (*_TEXTS, "occurred_at")}
    values |= {name: f"{e}.{name}" for name in LINKS if name in own}
    values["payload"] = f"to_json(named_struct({fields}), {_JSON})"
    return f"when {schema_id} then {_shape(values)}"


def _shape(values: Mapping[str, str] | None = None) -> str:
    values = values or {}
    kinds = dict.fromkeys((*_TEXTS, *LINKS, "payload"), "string") | {"occurred_at": "timestamp"}
    return (
        "named_struct("
        + ", ".join(
            f"'{name}', cast({values.get(name, 'null')} as {kind})" for name, kind in kinds.items()
        )
        + ")"
    )


def _header(name: str) -> str:
    return f"try_cast(cast(filter(headers, h -> h.key = '{name}')[0].value as string) as bigint)"


def _visible(cut: Cut) -> str:
    """An event belongs to the cut with its transaction; without one nothing can wait for it."""
    running = ", ".join(f"{xid}L" for xid in cut.running) or "-1L"
    return f"coalesce(tx_id < {cut.xmax}L and tx_id not in ({running}), true)"
