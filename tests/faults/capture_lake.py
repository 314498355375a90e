"""The lake behind a faulted capture: brought up to now and compared with the source, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from orchestration.settings import Settings
from pipelines import bronze, delta, lake, refresh
from pipelines import cut as cuts
from pipelines.certificate import source_state, states
from pipelines.registry import WriterSchemas
from pipelines.visibility import Cut
from schemas import contract
from schemas.contract import Contract
from tests.faults.capture_invariants import Record, contiguous

HISTORY = """
select count_if(overlapping) as overlaps, count_if(falling) as falling, count_if(two) as two from (
    select
        _valid_from < lag(_valid_to) over per_key as overlapping,
        (_commit_lsn, _streamed, _lsn) <= lag((_commit_lsn, _streamed, _lsn)) over per_key
            as falling,
        sum(cast(_is_current as int)) over (partition by {key}) > 1 as two
    from {{history}}
    window per_key as (partition by {key} order by _commit_lsn, _streamed, _lsn)
)
"""


def settings_of(env: Mapping[str, str]) -> Settings:
    """As a command in this stack's environment would have them."""
    names = ("home", "oltp_dsn", "oltp_admin_dsn", "warehouse_dsn", "kafka", "registry", "connect")
    return Settings(
        **{name: env[f"MILLRACE_{name.upper()}"] for name in (*names, "lake")}  # type: ignore[arg-type]
    )


def chosen(entities: Sequence[str]) -> tuple[Contract, ...]:
    """The contracts of these, or of everything that is captured."""
    return tuple(map(contract.load, entities)) or contract.load_all()


def build(spark: SparkSession, settings: Settings, *entities: str, cut: Cut | None = None) -> None:
    """Bronze and silver (of these entities, else of all) up to a cut, or to now."""
    upto = cut or cuts.take(settings.oltp_admin_dsn)
    cuts.wait_for_capture(settings.oltp_admin_dsn, upto, 120)
    bronze.ingest(spark, settings.lake, settings.kafka)
    schemas = WriterSchemas(settings.registry)
    refresh.build_all(spark, settings.lake, chosen(entities), upto, schemas)


def differences(spark: SparkSession, settings: Settings, *entities: str) -> list[str]:
    """I2, I4, I5 of the lake, at a cut taken now: of these entities, else of all."""
    folder, wrong = settings.lake, []
    with source_state.reading(settings.oltp_admin_dsn) as source:
        build(spark, settings, *entities, cut=source.cut)
        for c in chosen(entities):
            if not delta.exists(lake.current(folder, c)):
                if source.sums(c):
                    wrong.append(f"I2 {c.entity}: the source has rows, silver has no table")
                continue
            wrong += _state(spark, folder, c, source)
            wrong += _history(spark, folder, c)
    return wrong + _places(spark, folder)


def _state(spark: SparkSession, folder: Path, c: Contract, source: Any) -> list[str]:
    silver = states.sums(delta.read(spark, lake.current(folder, c)).where(states.LIVE), c)
    told = source.sums(c)
    return [
        f"I2 {c.entity} bucket {bucket}: the source has {told.get(bucket)}, silver"
        f" {silver.get(bucket)}"
        for bucket in sorted(told.keys() | silver.keys())
        if told.get(bucket) != silver.get(bucket)
    ]


def _history(spark: SparkSession, folder: Path, c: Contract) -> list[str]:
    history = delta.read(spark, lake.history(folder, c))
    query = HISTORY.format(key=", ".join(f"`{name}`" for name in c.key))
    found = spark.sql(query, history=history).first()
    bad = {name: n for name, n in found.asDict().items() if n} if found else {}
    return [f"I5 {c.entity}: {bad}"] if bad else []


def _places(spark: SparkSession, folder: Path) -> list[str]:
    rows = delta.read(spark, lake.bronze(folder)).select("topic", "partition", "offset").collect()
    wrong: list[str] = []
    for topic in {row["topic"] for row in rows}:
        records = [
            Record(row["partition"], row["offset"], "", "", None, None)
            for row in rows
            if row["topic"] == topic
        ]
        wrong += [f"{topic}: {line}" for line in contiguous(records)]
    return wrong
