"""Captured records as typed changes, pure: decode, order, visibility in a cut.

Input: bronze rows of one entity and the schemas their writers used. Output: one row a record, with
the contract's columns and technical ones (prefixed `_`). A record that cannot be read keeps its
bytes and says why in `_problem`; a value of the wrong type is named in `_wrong`; neither is ever
turned into a null silently. On replay: the same records give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.avro.functions import from_avro

from pipelines.visibility import Cut, as_sql
from schemas.contract import Column, Contract

# What Debezium sends for a column that is stored out of line and was not changed.
UNCHANGED = "__debezium_unavailable_value"
OPERATIONS = ("c", "u", "r", "d", "t")

# Per key: by the commit before it, snapshot rows before streamed ones, then by position in the log.
ORDER = ("_commit_lsn", "_streamed", "_lsn")
TECHNICAL = {
    "_op": "string",
    "_is_deleted": "boolean",
    "_commit_lsn": "bigint",
    "_lsn": "bigint",
    "_streamed": "int",
    "_tx_id": "bigint",
    "_topic": "string",
    "_partition": "int",
    "_offset": "bigint",
    "_changed_at": "timestamp",
    "_ingested_at": "timestamp",
    "_batch_id": "bigint",
}

# ["last commit LSN", "LSN"]; the first is null until a commit has been seen.
_COMMIT_LSN = """'^."?([0-9]+)'"""
_OWN_LSN = """', ?"?([0-9]+)"?.$'"""
_TEXT = ("uuid", "string", "code", "json")
_SQL_TYPES = {
    **dict.fromkeys(_TEXT, "string"),
    "long": "bigint",
    "integer": "int",
    "date": "date",
    "timestamp": "timestamp",
    "boolean": "boolean",
}


def changes(
    bronze: DataFrame,
    contract: Contract,
    value_schemas: Mapping[int, str | None],
    key_schemas: Mapping[int, str | None],
    cut: Cut,
    dropped: Mapping[int, Iterable[str]] | None = None,
) -> DataFrame:
    """One row a record, tombstones included (`_op` null, no problem). None marks an unknown id.

    `dropped` names, for a writer schema, the columns that it has not and that earlier ones had.
    """
    decoded = _decoded(bronze, value_schemas, key_schemas)
    envelopes = {i: _struct(decoded, f"_e{i}") for i, text in value_schemas.items() if text}
    keys = {i: _struct(decoded, f"_k{i}") for i, text in key_schemas.items() if text}
    gone = dropped or {}
    read = [_envelope(i, fields, contract, gone.get(i, ())) for i, fields in envelopes.items()]
    key = [_key(i, fields, contract) for i, fields in keys.items()]
    absent = [i for i, text in value_schemas.items() if not text]
    shaped = decoded.select(
        "*",
        F.expr(_case("value_schema_id", read, _nothing(contract))).alias("_n"),
        F.expr(_case("key_schema_id", key, _no_key(contract))).alias("_k"),
    )
    return _flat(shaped, contract, absent, cut)


def sql_type(column: Column) -> str:
    """The Spark type of a contract's column."""
    if column.type == "decimal":
        return f"decimal({column.precision},{column.scale})"
    return _SQL_TYPES[column.type]


def _decoded(
    bronze: DataFrame, values: Mapping[int, str | None], keys: Mapping[int, str | None]
) -> DataFrame:
    decoders = [
        F.when(
            F.col(f"{part}_schema_id") == schema_id,
            from_avro(F.expr(f"substring({part}, 6)"), text, {"mode": "PERMISSIVE"}),
        ).alias(f"_{part_letter}{schema_id}")
        for part, part_letter, schemas in (("value", "e", values), ("key", "k", keys))
        for schema_id, text in schemas.items()
        if text
    ]
    return bronze.select("*", *decoders)


def _struct(frame: DataFrame, name: str) -> dict[str, T.DataType]:
    """Fields of a struct column; none when it is something else."""
    return _fields(frame.schema[name].dataType)


def _fields(kind: T.DataType | None) -> dict[str, T.DataType]:
    return {f.name: f.dataType for f in kind.fields} if isinstance(kind, T.StructType) else {}


def _envelope(
    schema_id: int,
    fields: Mapping[str, T.DataType],
    contract: Contract,
    dropped: Iterable[str],
) -> str:
    """One WHEN branch: the envelope of this writer schema in the shape of `_nothing`."""
    source, after = _fields(fields.get("source")), _fields(fields.get("after"))
    if not {"lsn", "txId", "sequence", "ts_ms"} <= source.keys() or "op" not in fields:
        return f"when {schema_id} then {_nothing(contract, 'not_an_envelope')}"
    e = f"_e{schema_id}"
    changed = (
        f"timestamp_micros({e}.source.ts_us)"
        if "ts_us" in source
        else f"timestamp_millis({e}.source.ts_ms)"
    )
    before_key = _converted(f"{e}.before", _fields(fields.get("before")), contract, contract.key)
    row = _converted(f"{e}.after", after, contract)
    texts = [c for c in contract.columns if isinstance(after.get(c.name), T.StringType)]
    unchanged = [
        f"case when {e}.after.{_q(c.name)} = '{UNCHANGED}' then '{c.name}' end"
        for c in texts
        if c.type in _TEXT
    ]
    wrong = [
        f"case when {e}.after.{_q(c.name)} is not null and ({row[c.name]}) is null"
        f" then '{c.name}' end"
        for c in contract.columns
        if c.name in after
    ]
    return (
        f"when {schema_id} then named_struct("
        f"'problem', case when {e}.op is null then 'undecodable' end,"
        # Rows of an incremental snapshot have their place in the sequence only.
        f"'op', {e}.op, 'lsn', coalesce({e}.source.lsn, {_of_sequence(e, _OWN_LSN)}),"
        f"'tx_id', {e}.source.txId, 'commit_lsn', {_of_sequence(e, _COMMIT_LSN)},"
        f"'is_read_between', {e}.op = 'r' and {e}.source.lsn is null,"
        f"'changed_at', {changed}, 'source', concat({e}.source.schema, '.', {e}.source.table),"
        f"'has_row', {e}.after is not null,"
        f"'row', {_named(row)}, 'before_key', {_named(before_key)},"
        f"'unchanged', {_present(unchanged)}, 'wrong', {_present(wrong)},"
        f"'dropped', {_texts(dropped)})"
    )


def _of_sequence(envelope: str, pattern: str) -> str:
    found = f"regexp_extract({envelope}.source.sequence, {pattern}, 1)"
    return f"try_cast(nullif({found}, '') as bigint)"


def _nothing(contract: Contract, problem: str | None = None) -> str:
    """The shape every branch has, without content."""
    row = {c.name: f"cast(null as {sql_type(c)})" for c in contract.columns}
    said = f"'{problem}'" if problem else "cast(null as string)"
    big = "cast(null as bigint)"
    return (
        f"named_struct('problem', {said}, 'op', cast(null as string), 'lsn', {big},"
        f"'tx_id', {big}, 'commit_lsn', {big}, 'is_read_between', false,"
        "'changed_at', cast(null as timestamp),"
        f"'source', cast(null as string), 'has_row', false, 'row', {_named(row)},"
        f"'before_key', {_no_key(contract)},"
        f"'unchanged', {_texts(())}, 'wrong', {_texts(())}, 'dropped', {_texts(())})"
    )


def _key(schema_id: int, fields: Mapping[str, T.DataType], contract: Contract) -> str:
    key = _converted(f"_k{schema_id}", fields, contract, contract.key)
    return f"when {schema_id} then {_named(key)}"


def _no_key(contract: Contract) -> str:
    return _named({n: f"cast(null as {sql_type(contract.column(n))})" for n in contract.key})


def _converted(
    path: str, fields: Mapping[str, T.DataType], contract: Contract, names: Iterable[str] = ()
) -> dict[str, str]:
    """Each column's value in the contract's type; null when absent or impossible."""
    wanted = [contract.column(n) for n in names] or list(contract.columns)
    return {c.name: _value_of(f"{path}.{_q(c.name)}", fields.get(c.name), c) for c in wanted}


def _value_of(path: str, kind: T.DataType | None, column: Column) -> str:
    is_untyped = not column.declared and column.type == "string"
    if is_untyped and kind is not None and not isinstance(kind, T.StringType):
        return _as_text(path, kind)
    return _as_type(path, kind, column)


def _as_type(path: str, kind: T.DataType | None, column: Column) -> str:
    wanted = sql_type(column)
    is_text = isinstance(kind, T.StringType)
    as_they_are = {
        "long": (T.LongType, T.IntegerType),
        "integer": (T.LongType, T.IntegerType),
        "date": (T.DateType,),
        "timestamp": (T.TimestampType,),
        "boolean": (T.BooleanType,),
    }
    if column.type in _TEXT and is_text:
        return f"nullif({path}, '{UNCHANGED}')"
    if isinstance(kind, as_they_are.get(column.type, ())):
        return f"try_cast({path} as {wanted})"
    if column.type == "date" and isinstance(kind, T.IntegerType):
        return f"date_add(date'1970-01-01', {path})"
    if column.type == "timestamp" and is_text:
        return f"try_cast({path} as timestamp)"
    if column.type == "decimal" and (is_text or isinstance(kind, T.DecimalType)):
        # Only when nothing is rounded away.
        exact = f"try_cast({path} as decimal(38,18))"
        fitted = f"try_cast({path} as {wanted})"
        return f"case when {fitted} = {exact} then {fitted} end"
    return f"cast(null as {wanted})"


def _as_text(path: str, kind: T.DataType) -> str:
    """What no contract gives a type is kept as text, whatever it is."""
    if isinstance(kind, T.BinaryType):
        return f"base64({path})"
    if isinstance(kind, T.StructType | T.ArrayType | T.MapType):
        return f"to_json({path})"
    return f"cast({path} as string)"


def _flat(shaped: DataFrame, contract: Contract, absent: list[int], cut: Cut) -> DataFrame:
    unknown = ", ".join(map(str, absent)) or "-1"
    key_missing = " or ".join(f"{_q(n)} is null" for n in contract.key)
    others = ", ".join(f"'{c.name}'" for c in contract.columns if c.name not in contract.key)
    operations = ", ".join(f"'{op}'" for op in OPERATIONS)
    flat = shaped.selectExpr(
        *(_value(c, contract) for c in contract.columns),
        "_n.op as _op",
        "_n.op <=> 'd' as _is_deleted",
        "case when _n.op = 'r' and not _n.is_read_between then _n.lsn"
        " else coalesce(_n.commit_lsn, _n.lsn) end as _commit_lsn",
        "_n.lsn as _lsn",
        "case when _n.op = 'r' then 0 else 1 end as _streamed",
        "_n.tx_id as _tx_id",
        "topic as _topic",
        "partition as _partition",
        "offset as _offset",
        "_n.changed_at as _changed_at",
        "ingested_at as _ingested_at",
        "batch_id as _batch_id",
        f"case when _n.op = 'd' then array({others}) else _n.unchanged end as _unchanged",
        # An unchanged column has no value here, which is not a wrong one.
        "array_except(_n.wrong, _n.unchanged) as _wrong",
        "_n.dropped as _dropped",
        "key as _key",
        "value as _value",
        "key_schema_id as _key_schema_id",
        "value_schema_id as _value_schema_id",
        "_n.source as _source",
        "_n.has_row as _has_row",
        "_n.problem as _read_problem",
        *(["patch as _patch"] if "patch" in shaped.columns else []),
    )
    problem = (
        "case when _value is null then null"
        " when _value_schema_id is null then 'wire_format'"
        f" when _value_schema_id in ({unknown}) then 'unknown_schema'"
        " when _read_problem is not null then _read_problem"
        f" when _op not in ({operations}) then 'unknown_operation'"
        f" when not (_source <=> '{contract.source}') then 'wrong_source'"
        " when _lsn is null then 'no_order'"
        # A truncate speaks of the table: it has neither row nor key.
        " when _op = 't' then null"
        " when _op <> 'd' and not _has_row then 'no_row'"
        f" when {key_missing} then 'no_key' end"
    )
    return flat.select(
        "*",
        F.expr(problem).alias("_problem"),
        F.expr(as_sql(cut, "_tx_id", "_op", "_lsn")).alias("_visible"),
    ).drop("_source", "_has_row", "_read_problem")


def _value(column: Column, contract: Contract) -> str:
    name = _q(column.name)
    if column.name not in contract.key:
        return f"_n.row.{name} as {name}"
    # A delete has no row after it: its key is in the record's key, or in the row before.
    deleted = f"coalesce(_k.{name}, _n.before_key.{name})"
    return f"case when _n.op = 'd' then {deleted} else _n.row.{name} end as {name}"


def _case(on: str, branches: list[str], otherwise: str) -> str:
    return f"case {on} {' '.join(branches)} else {otherwise} end" if branches else otherwise


def _named(values: Mapping[str, str]) -> str:
    return "named_struct(" + ", ".join(f"'{n}', {v}" for n, v in values.items()) + ")"


def _present(values: list[str]) -> str:
    """An array of those values that are not null."""
    if not values:
        return "cast(array() as array<string>)"
    return f"filter(array({', '.join(values)}), x -> x is not null)"


def _texts(values: Iterable[str]) -> str:
    each = ", ".join(f"'{value}'" for value in values)
    return f"cast(array({each}) as array<string>)"


def _q(name: str) -> str:
    return f"`{name}`"
