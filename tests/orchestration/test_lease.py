"""One run at a time, and a dead one is found, on a real Postgres."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType

from millrace.stack import Stack
from orchestration import lease
from orchestration.sensors import orphaned_runs
from orchestration.settings import Settings

HOLD = """
import sys, time
from orchestration import lease

with lease.hold(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def dsn(postgres_only: Stack) -> str:
    return postgres_only.env["MILLRACE_WAREHOUSE_DSN"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def started_run(instance: dg.DagsterInstance) -> str:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def refresh() -> None:
        nothing()

    run = instance.create_run_for_job(refresh)
    begun = DagsterEvent(DagsterEventType.RUN_START.value, job_name="refresh")
    instance.report_dagster_event(begun, run.run_id)
    return run.run_id


def status_after_a_look(instance: dg.DagsterInstance, dsn: str, run_id: str) -> dg.DagsterRunStatus:
    sensor = orphaned_runs(Settings(warehouse_dsn=dsn), grace_s=0)
    time.sleep(0.01)
    sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_second_run_waits_and_then_says_for_whom(dsn: str) -> None:
    with (
        lease.hold(dsn, "first"),
        pytest.raises(lease.LakeBusyError, match="first"),
        lease.hold(dsn, "second", patience_s=0.3),
    ):
        pass
    with lease.hold(dsn, "third", patience_s=0):
        assert lease.alive(dsn) == {"third"}


def test_a_killed_run_frees_its_lease_and_is_marked_as_failed(
    dsn: str, instance: dg.DagsterInstance
) -> None:
    run_id = started_run(instance)
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLD, dsn, run_id], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "held\n"
    assert status_after_a_look(instance, dsn, run_id) == dg.DagsterRunStatus.STARTED

    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    until = time.monotonic() + 10
    while lease.alive(dsn) and time.monotonic() < until:
        time.sleep(0.05)
    assert status_after_a_look(instance, dsn, run_id) == dg.DagsterRunStatus.FAILURE
    with lease.hold(dsn, "next", patience_s=0):
        pass
