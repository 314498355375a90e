"""The local stack heals itself, and leaves nothing behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from millrace.stack import Stack, processes
from millrace.stack.supervision import SUPERVISORD
from tests.conftest import temporary_stack

pytestmark = pytest.mark.stack
PARTS = ("postgres", "redis")


@pytest.fixture(scope="module")
def small() -> Iterator[Stack]:
    """A stack of our own: killing its supervisor must not disturb other tests."""
    yield from temporary_stack(PARTS)


@pytest.fixture(autouse=True)
def _whole(small: Stack) -> None:
    small.up(PARTS)


def test_up_again_changes_nothing(small: Stack) -> None:
    before = {part: small.pid(part) for part in PARTS}
    began = time.monotonic()
    small.up(PARTS)
    assert time.monotonic() - began < 5
    assert {part: small.pid(part) for part in PARTS} == before
    assert all(before.values())


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back(small: Stack, part: str) -> None:
    old = small.kill(part)
    eventually(lambda: small.pid(part) not in (None, old))
    small.up(PARTS)
    assert answers(small)


def test_a_stopped_part_stays_down_until_it_is_started(small: Stack) -> None:
    small.stop("redis")
    assert small.pid("redis") is None
    time.sleep(1.5)
    assert small.status()["redis"].state == "STOPPED"
    small.start("redis")
    assert small.pid("redis") is not None


def test_up_heals_a_killed_supervisor(small: Stack) -> None:
    orphans = [small.pid(part) for part in PARTS]
    kill_supervisor(small)
    assert all(pid and psutil.pid_exists(pid) for pid in orphans), "parts outlive their supervisor"
    small.up(PARTS)
    assert answers(small)
    assert not set(orphans) & {small.pid(part) for part in PARTS}
    assert processes.wait_gone([pid for pid in orphans if pid], within_s=0) == []


def test_down_heals_a_killed_supervisor(small: Stack) -> None:
    kill_supervisor(small)
    small.down()
    assert processes_of(small.layout.home) == []


def test_down_leaves_no_process_and_keeps_the_data(small: Stack) -> None:
    with psycopg.connect(small.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        connection.execute("create table if not exists public.kept as select 42 as answer")
    small.down()
    assert processes_of(small.layout.home) == []
    small.up(PARTS)
    with psycopg.connect(small.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        assert connection.execute("select answer from public.kept").fetchone() == (42,)


def test_a_port_taken_meanwhile_is_replaced(small: Stack) -> None:
    import socket

    small.down()
    old = small.ports["redis"]
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", old))
        stranger.listen()
        small.up(PARTS)
        assert small.ports["redis"] != old
        assert answers(small)


def test_postgres_is_not_root_and_asks_for_its_password(small: Stack) -> None:
    pid = small.pid("postgres")
    assert pid is not None
    assert psutil.Process(pid).username() != "root"
    wrong = small.env["MILLRACE_OLTP_DSN"].replace(small.secrets["MILLRACE_APP_PASSWORD"], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_folder_postgres_may_not_enter_is_no_obstacle(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    stack = Stack(tmp_path / "state")
    try:
        stack.up(("postgres",))
        assert stack.pid("postgres") is not None
    finally:
        stack.down(purge=True)
    assert not (tmp_path / "state").exists()


def eventually(true: Callable[[], bool], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(stack: Stack) -> bool:
    import redis

    with psycopg.connect(stack.env["MILLRACE_OLTP_DSN"]) as connection:
        connection.execute("select 1")
    with redis.Redis.from_url(stack.env["MILLRACE_REDIS"]) as client:
        return bool(client.ping())


def kill_supervisor(stack: Stack) -> None:
    pid = processes.recorded(stack.layout.record(SUPERVISORD))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    # It is our child: until it is reaped its id would still seem taken.
    os.waitpid(pid, 0)


def processes_of(home: Path) -> list[str]:
    """Whatever names the state folder in its command line or environment."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid == os.getpid():
            continue
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(home) in word for word in words):
            found.append(" ".join(process.cmdline()))
    return found
