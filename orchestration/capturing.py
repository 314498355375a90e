"""The guard of capture, each minute: slot, every table's lag, and the alarm before the limit."""

from __future__ import annotations

import dagster as dg

from orchestration import sources
from orchestration.capture_looks import look, table_lags
from orchestration.settings import Settings
from pipelines.capture import guarding, remembering
from pipelines.capture.judging import ALARM, BROKEN, lsn
from pipelines.capture.showing import said

EVERY_S = 60


def capture_guard(settings: Settings) -> dg.SensorDefinition:
    """Looks, remembers, observes the connector's asset; fails loudly on an alarm or a break."""

    @dg.sensor(
        name="capture_guard",
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Slot identity, log kept, lag per table; alarm before the slot is lost.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            found = look(settings)
        except Exception as error:
            return dg.SkipReason(f"the slot cannot be looked at: {error}")
        lags: list[remembering.TableLag] = []
        try:
            lags = table_lags(settings, found)
        except Exception as error:
            context.log.warning("the tables' lag is unknown: %s", error)
        for line in said(found):
            log = context.log.error if found.level in (ALARM, BROKEN) else context.log.warning
            log(line)
        return dg.SensorResult(asset_events=[observation(found, lags)])

    return sensor


def observation(found: guarding.Look, lags: list[remembering.TableLag]) -> dg.AssetObservation:
    """The look as Dagster plots it over time, at the connector's asset."""
    facts = found.facts
    known = [lag for lag in lags if lag.behind_s is not None]
    worst = max(known, key=lambda lag: lag.behind_s or 0.0, default=None)
    metadata: dict[str, dg.MetadataValue] = {
        "level": dg.MetadataValue.text(found.level),
        "kept_bytes": dg.MetadataValue.int(facts.kept_bytes),
        "behind_bytes": dg.MetadataValue.int(facts.behind_bytes),
        "behind_s": dg.MetadataValue.float(found.verdict.behind_s),
        "confirmed_lsn": dg.MetadataValue.text(lsn(facts.confirmed_lsn)),
        "findings": dg.MetadataValue.md("\n".join(f"- {s}" for s in said(found)) or "none"),
        "waiting_records": dg.MetadataValue.json({t.entity: t.waiting for t in lags if t.waiting}),
    }
    if facts.safe_bytes is not None:
        metadata["safe_bytes"] = dg.MetadataValue.int(facts.safe_bytes)
    if worst is not None:
        metadata["worst_table"] = dg.MetadataValue.text(worst.entity)
        metadata["worst_table_behind_s"] = dg.MetadataValue.float(worst.behind_s or 0.0)
    return dg.AssetObservation(asset_key=sources.CONNECTOR, metadata=metadata)
