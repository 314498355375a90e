"""When to run: Kafka has news, or the last run failed. Who is watched: orphans and streams."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
import psycopg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from orchestration import control, lease, news, quiet, reconciling, sources
from orchestration.assets import CUT
from orchestration.settings import Settings
from pipelines.certificate.drilling import lsn_text
from schemas import topics

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# A run that has just started needs this long to import its code and take its lease.
GRACE_S = 25
CONFIRM_EVERY_S = 60.0
DAY_S = 86_400
NO_NEWS = "no captured topic has news"


def kafka_news(
    settings: Settings,
    job: UnresolvedAssetJobDefinition,
    confirm_every_s: float = CONFIRM_EVERY_S,
) -> dg.SensorDefinition:
    """Runs the job when a topic or the quarantine's releases are beyond the last complete run.

    Without news it shows now and then that there is none, which moves `complete through` on.
    """

    @dg.sensor(
        name="kafka_news",
        job=job,
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs when a captured topic has offsets beyond the last complete run.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if _runs(context.instance, UNDER_WAY):
            return dg.SkipReason("a run is queued or under way")
        try:
            ends = news.end_offsets(settings.kafka, topics.captured())
            ends |= news.released(settings.lake)
        except Exception as error:
            return dg.SkipReason(f"Kafka at {settings.kafka} does not answer: {error}")
        past = _past(context.instance)
        decision = decide(ends, past, now=time.time())
        if decision == NO_NEWS:
            return _confirmed(settings, ends, past, confirm_every_s)
        if isinstance(decision, str):
            return dg.SkipReason(decision)
        counted = ", ".join(f"{topic} {count}" for topic, count in sorted(decision.items()))
        context.log.info("news: %s", counted or "a new day, which the dated marts speak of")
        return dg.SensorResult([dg.RunRequest(tags=_tags(decision))], cursor=news.to_tag(ends))

    return sensor


@dataclass(frozen=True)
class Past:
    """What the last complete run saw and when it began; the failures since, newest first.

    A failure is its end time and the offsets that it tried.
    """

    seen: news.Offsets = field(default_factory=dict)
    began_at: float | None = None
    failed: Sequence[tuple[float, news.Offsets]] = ()

    def is_of_another_day(self, now: float) -> bool:
        """Whether dated marts speak of a day (UTC) that is over."""
        return self.began_at is not None and now // DAY_S > self.began_at // DAY_S


def decide(ends: news.Offsets, past: Past, now: float) -> news.Offsets | str:
    """The news to run for, or why not; a new day is a reason without any.

    Data that no run has tried yet is tried at once; a retry of the same data waits longer.
    """
    fresh = news.newer(ends, past.seen)
    if not fresh and not past.is_of_another_day(now):
        return NO_NEWS
    return waits(ends, past, now) or fresh


def waits(ends: news.Offsets, past: Past, now: float) -> str:
    """Why the next run waits: others just failed over the same data. Empty when it does not."""
    if not past.failed:
        return ""
    ended_at, tried = past.failed[0]
    if news.newer(ends, tried) or news.retry_due(len(past.failed), now - ended_at):
        return ""
    return f"{len(past.failed)} runs over these changes failed; waiting before the next"


def _confirmed(
    settings: Settings, ends: news.Offsets, past: Past, every_s: float
) -> dg.SensorResult | dg.SkipReason:
    """That there is no news, shown; a run when the source's own log says otherwise."""
    try:
        standing = control.standing_cut(settings.warehouse_dsn)
        if standing and time.time() - standing[1].timestamp() < every_s:
            return dg.SkipReason(NO_NEWS)
        found = quiet.confirm(settings, past.seen)
    except quiet.NotBrought as error:
        if reason := waits(ends, past, time.time()):
            return dg.SkipReason(f"{error}; {reason}")
        return dg.SensorResult([dg.RunRequest(tags={"millrace/not_brought": str(error)})])
    except (quiet.Unproven, psycopg.Error) as error:
        return dg.SkipReason(f"{NO_NEWS}; unproven: {error}")
    through = found.through.taken_at
    seen_now = dg.AssetObservation(
        CUT,
        metadata={
            "cut_id": found.cut_id,
            "unchanged_through": dg.MetadataValue.timestamp(through),
            "unchanged_through_lsn": lsn_text(found.through.lsn),
        },
    )
    said = f"{NO_NEWS}; gold is complete through {through:%Y-%m-%d %H:%M:%S} UTC"
    return dg.SensorResult(skip_reason=dg.SkipReason(said), asset_events=[seen_now])


def orphaned_runs(settings: Settings, grace_s: float = GRACE_S) -> dg.SensorDefinition:
    """Marks a run as failed when it is said to run but no process holds its lease any more."""

    @dg.sensor(
        name="orphaned_runs",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs as failed whose process is gone (killed, or its host lost).",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        started = context.instance.get_run_records(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
        )
        if not started:
            return dg.SkipReason("nothing runs")
        alive = lease.alive(settings.warehouse_dsn)
        gone = [
            record.dagster_run
            for record in started
            if record.dagster_run.run_id not in alive
            and time.time() - (record.start_time or time.time()) > grace_s
        ]
        for run in gone:
            context.instance.report_run_failed(
                run, "The process of this run is gone: it was killed, or its host was lost."
            )
        return dg.SkipReason(f"{len(gone)} of {len(started)} runs had lost their process")

    return sensor


def stream_lag(settings: Settings) -> dg.SensorDefinition:
    """Observes the stream agents once a minute, without a run."""

    @dg.sensor(
        name="stream_lag",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lag of the Faust agents and the time of the last decision.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            seen = [sources.observation(settings, name) for name in sources.STREAMS]
        except Exception as error:
            return dg.SkipReason(f"the streams cannot be observed: {error}")
        return dg.SensorResult(asset_events=seen)

    return sensor


def _runs(instance: dg.DagsterInstance, statuses: list[dg.DagsterRunStatus]) -> bool:
    return bool(instance.get_run_ids(dg.RunsFilter(statuses=statuses), limit=1))


def _past(instance: dg.DagsterInstance) -> Past:
    complete = instance.get_run_records(dg.RunsFilter(tags=news.COMPLETE), limit=1)
    failed: list[tuple[float, news.Offsets]] = []
    for record in instance.get_run_records(limit=10):
        run = record.dagster_run
        if run.job_name == reconciling.JOB:
            continue
        if complete and run.run_id == complete[0].dagster_run.run_id:
            break
        if run.status == dg.DagsterRunStatus.FAILURE:
            tried = news.from_tag(run.tags.get(news.ATTEMPTED_TAG))
            failed.append((record.end_time or time.time(), tried))
    if not complete:
        return Past(failed=failed)
    seen = news.from_tag(complete[0].dagster_run.tags.get(news.COMPLETE_TAG))
    return Past(seen, complete[0].start_time, failed)


def _tags(fresh: news.Offsets) -> dict[str, str]:
    return {"millrace/news": str(sum(fresh.values()))}
