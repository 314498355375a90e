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
from tests.conftest import DATA_PATH, temporary_stack

pytestmark = pytest.mark.stack
PARTS = ("postgres", "redis")


@pytest.fixture(scope="module")
def small() -> Iterator[Stack]:
    """A stack of our own: killing its supervisor must not disturb other tests."""
    yield from temporary_stack(PARTS)


@pytest.fixture
def whole(small: Stack) -> Stack:
    """The small stack, with all of it running."""
    small.up(PARTS)
    return small


def test_up_again_changes_nothing(whole: Stack) -> None:
    before = {part: whole.pid(part) for part in PARTS}
    began = time.monotonic()
    whole.up(PARTS)
    assert time.monotonic() - began < 5
    assert {part: whole.pid(part) for part in PARTS} == before
    assert all(before.values())


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back(whole: Stack, part: str) -> None:
    old = whole.kill(part)
    eventually(lambda: whole.pid(part) not in (None, old))
    whole.up(PARTS)
    assert answers(whole)


def test_a_stopped_part_stays_down_until_it_is_started(whole: Stack) -> None:
    whole.stop("redis")
    assert whole.pid("redis") is None
    time.sleep(1.5)
    assert whole.status()["redis"].state == "STOPPED"
    whole.start("redis")
    assert whole.pid("redis") is not None


def test_up_heals_a_killed_supervisor(whole: Stack) -> None:
    orphans = [whole.pid(part) for part in PARTS]
    kill_supervisor(whole)
    assert all(pid and psutil.pid_exists(pid) for pid in orphans), "parts outlive their supervisor"
    whole.up(PARTS)
    assert answers(whole)
    assert not set(orphans) & {whole.pid(part) for part in PARTS}
    assert processes.wait_gone([pid for pid in orphans if pid], within_s=0) == []


def test_down_heals_a_killed_supervisor(whole: Stack) -> None:
    kill_supervisor(whole)
    whole.down()
    assert processes_of(whole.layout.home) == []


def test_down_leaves_no_process_and_keeps_the_data(whole: Stack) -> None:
    with psycopg.connect(whole.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        connection.execute("create table if not exists public.kept as select 42 as answer")
    whole.down()
    assert processes_of(whole.layout.home) == []
    whole.up(PARTS)
    with psycopg.connect(whole.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
        assert connection.execute("select answer from public.kept").fetchone() == (42,)


def test_a_port_taken_meanwhile_is_replaced(whole: Stack) -> None:
    import socket

    whole.down()
    old = whole.ports["redis"]
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", old))
        stranger.listen()
        whole.up(PARTS)
        assert whole.ports["redis"] != old
        assert answers(whole)


def test_postgres_is_not_root_and_asks_for_its_password(whole: Stack) -> None:
    pid = whole.pid("postgres")
    assert pid is not None
    assert psutil.Process(pid).username() != "root"
    wrong = whole.env["MILLRACE_OLTP_DSN"].replace(whole.secrets["MILLRACE_APP_PASSWORD"], "wrong")
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


@pytest.mark.parametrize("part", ["kafka", "registry", "connect", "worker", "gateway"])
def test_every_part_of_the_data_path_comes_back(stack: Stack, part: str) -> None:
    old = stack.kill(part)
    eventually(lambda: stack.pid(part) not in (None, old))
    stack.up(DATA_PATH)
    assert stack.status()[part].state == "RUNNING"


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


def test_a_start_that_fails_names_the_part_that_failed_and_not_those_that_gave_up() -> None:
    for stack in temporary_stack(()):
        stack.layout.make()
        (stack.layout.home / "redis").write_text("in the way of its folder")
        with pytest.raises(OSError, match="redis"):
            stack.up(PARTS)
