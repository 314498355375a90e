"""The composition root of the orchestration: every asset, check, job, schedule and sensor."""

import dagster as dg

from orchestration import (
    assets,
    capturing,
    certificates,
    closing,
    lake_only,
    mart_build,
    projecting,
    publishing,
    reconciling,
    sensors,
    sources,
)
from orchestration.resources import tick_resource
from orchestration.settings import Settings
from schemas import contract


def build(settings: Settings) -> dg.Definitions:
    """The graph over the contracts, at the addresses of the settings."""
    captured, contracts = contract.load_all(), contract.load_published()
    refresh = dg.define_asset_job(
        "refresh",
        selection=dg.AssetSelection.all() - dg.AssetSelection.assets(reconciling.RECONCILIATION),
        description="One tick: cut, bronze, silver, checks, publish, gold, tie-out.",
        # The run's events are in the UI; the code server's log needs only what went wrong.
        config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        # One Spark session in one process; a process a step would start one each.
        executor_def=dg.in_process_executor,
        # A failed tick is repeated by the sensor, from its start: a step needs its own cut.
        tags={"dagster/max_retries": "0"},
    )
    reconciliation = reconciling.job()
    return dg.Definitions(
        assets=[
            *sources.external_assets(captured),
            sources.observed_streams(settings),
            assets.cut_asset(settings),
            assets.bronze_assets(settings, captured),
            *(assets.silver_asset(settings, c) for c in contracts),
            publishing.warehouse_assets(settings, contracts),
            lake_only.silver_assets(settings, tuple(c for c in captured if not c.published)),
            certificates.certificate_asset(settings, contracts),
            projecting.projection_assets(settings),
            mart_build.mart_assets(settings),
            closing.quality_asset(settings, contracts),
            closing.tie_out_asset(settings, contracts),
            closing.lineage_asset(settings),
            reconciling.asset(settings),
        ],
        jobs=[refresh, reconciliation],
        schedules=[reconciling.hourly(reconciliation)],
        sensors=[
            sensors.kafka_news(settings, refresh),
            sensors.orphaned_runs(settings),
            sensors.stream_lag(settings),
            capturing.capture_guard(settings),
        ],
        resources={"tick": tick_resource(settings)},
        # Also for what is launched by hand from the graph.
        executor=dg.in_process_executor,
    )


defs = build(Settings())
