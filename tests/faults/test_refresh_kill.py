"""A tick killed in the middle of traffic: the next one makes good, nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from millrace.stack import Stack
from orchestration.run import refresh
from tests.conftest import temporary_stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: what other tests leave behind would not add up."""
    yield from temporary_stack(("postgres", "redis", "kafka", "registry", "connect"))


RUN = "from orchestration.run import refresh; refresh()"


def insert_customers(stack: Stack, count: int) -> None:
    with psycopg.connect(stack.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        connection.cursor().executemany(
            "insert into customer.customers (customer_id, country) values (%s, 'DE')",
            [(uuid4(),) for _ in range(count)],
        )


def kill_in_bronze(stack: Stack, victims: Callable[[psutil.Process], list[psutil.Process]]) -> None:
    """Start a tick in a process of its own and kill what `victims` names once bronze writes."""
    table = Path(stack.env["MILLRACE_LAKE"]) / "bronze"
    before = sum(1 for _ in table.rglob("*.parquet"))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN], env={**os.environ, **stack.env}
    )
    until = time.monotonic() + 180
    while sum(1 for _ in table.rglob("*.parquet")) == before and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    for victim in victims(psutil.Process(process.pid)):
        with suppress(psutil.NoSuchProcess):  # a Java process may follow its parent at once
            victim.send_signal(signal.SIGKILL)
    process.wait(timeout=60)


@pytest.mark.usefixtures("stack_env")
def test_killed_with_its_spark_while_it_writes(stack: Stack) -> None:
    insert_customers(stack, 200)
    kill_in_bronze(stack, lambda process: [process, *process.children(recursive=True)])
    insert_customers(stack, 50)
    assert refresh().is_exact


@pytest.mark.long
@pytest.mark.usefixtures("stack_env")
def test_only_its_spark_killed_while_it_writes(stack: Stack) -> None:
    insert_customers(stack, 200)
    kill_in_bronze(stack, lambda process: process.children(recursive=True))
    insert_customers(stack, 50)
    assert refresh().is_exact
