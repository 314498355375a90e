"""Settlement reconciled once an hour: positions against the ledger against the networks' files.

The comparison is ledger.reconcile_settlement, in the operational database; its breaks have an age
and an owner there. Here they become checks. It touches no lake, so it runs beside a tick.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import psycopg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from orchestration import lease
from orchestration.datasets import Datasets
from orchestration.lineage import Emitter
from orchestration.settings import Settings
from orchestration.sources import table_key
from schemas import contract

JOB = "reconciliation"
RECONCILIATION = dg.AssetKey(["control", "reconciliation"])
PROVABLE, LOOKED_AFTER = "positions_stand_as_entered", "no_break_is_open_for_a_day"
COMPARED = ("card_accounts", "ledger_postings", "ledger_entries", "clearings", "card_messages",
            "clearing_files", "clearing_totals")  # fmt: skip
COLUMNS = ("kind", "subject", "problem", "file", "ledger", "position", "currency", "age_hours",
           "owner", "state")  # fmt: skip
RUN = "select accounts, lines, broken from ledger.settlement_runs where settlement_run_id = %s"
BREAKS = """
select kind, subject, problem, file_minor, ledger_minor, position_minor, currency::text,
    floor(extract(epoch from now() - first_seen_at) / 3600)::int, owner, state
from ledger.settlement_breaks where state <> 'RESOLVED'
order by first_seen_at, kind, subject
"""
SHOWN = 100
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Found:
    """How much was compared, and what differs now."""

    accounts: int
    lines: int
    broken: int
    breaks: Sequence[Row]

    @property
    def unprovable(self) -> list[Row]:
        """Positions that are not what was entered: no path of the application can cause one."""
        return [row for row in self.breaks if row[0] in ("POSITION", "HELD")]

    @property
    def left_alone(self) -> list[Row]:
        """Breaks that nobody has explained within a day."""
        return [row for row in self.breaks if row[9] == "OPEN" and row[7] >= 24]


def asset(settings: Settings) -> dg.AssetsDefinition:
    """The comparison and its two checks."""

    @dg.asset(
        key=RECONCILIATION,
        deps=[table_key(contract.load(entity)) for entity in COMPARED],
        group_name="control",
        kinds={"postgres"},
        description="Positions = ledger = clearing files; what differs has an age and an owner.",
        check_specs=[
            dg.AssetCheckSpec(
                PROVABLE,
                asset=RECONCILIATION,
                description="Every account is what its postings add up to.",
            ),
            dg.AssetCheckSpec(
                LOOKED_AFTER,
                asset=RECONCILIATION,
                description="A break is gone or explained within a day.",
            ),
        ],
    )
    def reconciliation(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        with lease.presence(settings.warehouse_dsn, context.run_id):
            found = compare(settings, context.run_id)
        yield dg.MaterializeResult(
            metadata={
                "accounts": found.accounts,
                "lines": found.lines,
                "broken": found.broken,
                "breaks": _table(found.breaks),
            }
        )
        for name, wrong in ((PROVABLE, found.unprovable), (LOOKED_AFTER, found.left_alone)):
            yield dg.AssetCheckResult(
                asset_key=RECONCILIATION,
                check_name=name,
                passed=not wrong,
                metadata={"breaks": _table(wrong), "what_to_do": "oltp/reconciling/README.md"},
            )

    return reconciliation


def job() -> UnresolvedAssetJobDefinition:
    """The comparison alone."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(RECONCILIATION),
        description="Positions against the ledger against the networks' clearing files.",
        config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        executor_def=dg.in_process_executor,
    )


def hourly(reconciliation: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Once an hour, from the start on."""
    return dg.ScheduleDefinition(
        name=f"{JOB}_hourly",
        job=reconciliation,
        cron_schedule="7 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def compare(settings: Settings, run_id: str) -> Found:
    """Compare now; the breaks are kept in the operational database."""
    where = Datasets(settings.oltp_dsn, settings.warehouse_dsn, settings.kafka, settings.lake)
    sources = [where.operational(contract.load(entity)) for entity in COMPARED]
    with Emitter(run_id).step(JOB, sources, "DAGSTER") as step:
        with psycopg.connect(settings.oltp_dsn, autocommit=True, connect_timeout=5) as connection:
            (run,) = connection.execute("select ledger.reconcile_settlement()").fetchall()
            ((accounts, lines, broken),) = connection.execute(RUN, run).fetchall()
            breaks = connection.execute(BREAKS).fetchall()
        step.writes(where.operational(contract.load("settlement_breaks")), rows=len(breaks))
    return Found(accounts, lines, broken, breaks)


def _table(rows: Sequence[Row]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in COLUMNS])
    records = [
        dg.TableRecord(dict(zip(COLUMNS, map(str, row), strict=True))) for row in rows[:SHOWN]
    ]
    return dg.MetadataValue.table(records, schema)
