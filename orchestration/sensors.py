"""When to run: Kafka has news, or the last run failed. Who is watched: orphans and streams."""

import time

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from orchestration import lease, news, reconciling, sources
from orchestration.settings import Settings
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


def kafka_news(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Runs the job when a topic or the quarantine's releases are beyond the last complete run."""

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
        decision = decide(ends, *_past(context.instance), now=time.time())
        if isinstance(decision, str):
            return dg.SkipReason(decision)
        counted = ", ".join(f"{topic} {count}" for topic, count in sorted(decision.items()))
        context.log.info("news: %s", counted)
        return dg.SensorResult([dg.RunRequest(tags=_tags(decision))], cursor=news.to_tag(ends))

    return sensor


def decide(
    ends: news.Offsets, complete: news.Offsets, failed: list[tuple[float, news.Offsets]], now: float
) -> news.Offsets | str:
    """The news to run for, or why not. `failed`: end time and offsets of the failures since.

    Data that no run has tried yet is tried at once; a retry of the same data waits longer.
    """
    fresh = news.newer(ends, complete)
    if not fresh:
        return "no captured topic has news"
    if not failed:
        return fresh
    ended_at, tried = failed[0]
    if news.newer(ends, tried) or news.retry_due(len(failed), now - ended_at):
        return fresh
    return f"{len(failed)} runs over these changes failed; waiting before the next"


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


def _past(instance: dg.DagsterInstance) -> tuple[news.Offsets, list[tuple[float, news.Offsets]]]:
    """What the last complete run saw, and the failures after it, newest first."""
    complete = instance.get_runs(dg.RunsFilter(tags=news.COMPLETE), limit=1)
    seen = news.from_tag(complete[0].tags.get(news.COMPLETE_TAG)) if complete else {}
    failed: list[tuple[float, news.Offsets]] = []
    for record in instance.get_run_records(limit=10):
        run = record.dagster_run
        if run.job_name == reconciling.JOB:
            continue
        if complete and run.run_id == complete[0].run_id:
            break
        if run.status == dg.DagsterRunStatus.FAILURE:
            tried = news.from_tag(run.tags.get(news.ATTEMPTED_TAG))
            failed.append((record.end_time or time.time(), tried))
    return seen, failed


def _tags(fresh: news.Offsets) -> dict[str, str]:
    return {"millrace/news": str(sum(fresh.values()))}
