"""Any captured tables, anybody's changes, capture and Spark killed at random: all is as it was.

Silver equals the source, history has neither gaps nor overlaps, and the certificate is clean.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from connectors import register
from millrace.stack import Stack
from orchestration import whole
from orchestration.run import refresh
from pipelines.registry import WriterSchemas
from schemas import contract
from tests.conftest import temporary_stack
from tests.faults import capture_lake
from tests.faults.strangers import Stranger
from tests.faults.test_capture_kills import killed

pytestmark = [pytest.mark.stack, pytest.mark.spark, pytest.mark.long]
RUN = "from orchestration.run import refresh; refresh()"
TABLES, ROUNDS = 8, 4


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: its tables lose what holds their rows together."""
    yield from temporary_stack(("postgres", "redis", "kafka", "registry", "connect"))


@pytest.mark.timeout(1200)
def test_whoever_writes_and_whatever_is_killed(spark, stack, stack_env, seed) -> None:
    rng = random.Random(seed)
    tables = rng.sample(contract.load_all(), TABLES)
    print("tables:", ", ".join(c.entity for c in tables))
    stranger = Stranger(stack_env["MILLRACE_OLTP_ADMIN_DSN"], tables, seed)
    with stranger.writing():
        for _ in range(ROUNDS):
            interrupted_tick(stack, rng)
        time.sleep(rng.uniform(0, 3))
    print(f"{stranger.committed} transactions, {stranger.refused} refused")
    assert stranger.committed > 500
    register.wait_until_streaming(stack_env["MILLRACE_CONNECT"])
    tick = refresh()
    # What checks of business rules hold back of made-up rows is not the lake's.
    print("the last tick:", tick.errors, [str(c) for c in tick.failed_checks])

    settings = capture_lake.settings_of(stack_env)
    assert capture_lake.differences(spark, settings, *(c.entity for c in tables)) == []
    done = whole.certify(settings, spark, WriterSchemas(settings.registry), tables)
    print({v.entity: v.hops["source"].changes for v in done.verdicts if "source" in v.hops})
    assert [str(one) for one in done.breaks if not one.is_lawful] == []
    assert {v.entity for v in done.verdicts} == {c.entity for c in tables}
    assert sum(v.hops["silver"].changes for v in done.verdicts if "silver" in v.hops) > 100


def interrupted_tick(stack: Stack, rng: random.Random) -> None:
    """A tick in its own process; on its way capture is killed, or it with its Spark, or both."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN], env={**os.environ, **stack.env},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for victim in rng.choice((("connect", "tick"), ("tick", "connect"), ("tick",), ("spark",))):
            wait_s = rng.uniform(3, 25)
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)
            print(f"{wait_s:.1f} s later SIGKILL to {victim}")
            if victim == "connect":
                killed(stack, victim)
            elif process.poll() is None:
                kill(process, itself=victim == "tick")
        process.wait(timeout=300)
    finally:
        if process.poll() is None:
            kill(process, itself=True)
            process.wait(timeout=60)


def kill(process: subprocess.Popen[bytes], itself: bool) -> None:
    """Its Spark, and the process too."""
    parent = psutil.Process(process.pid)
    victims = [*([parent] if itself else []), *parent.children(recursive=True)]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
