"""A process is known by id and start time; ending one never hits another."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.stack import processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_recorded_process_is_found_while_it_lives(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record = tmp_path / "part.pid"
    processes.write_record(record, sleeper.pid)
    assert processes.recorded(record) == sleeper.pid
    sleeper.kill()
    sleeper.wait()
    assert processes.recorded(record) is None


def test_a_reused_process_id_is_neither_taken_for_ours_nor_ended(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record = tmp_path / "part.pid"
    record.write_text(f"{sleeper.pid} 1\n")
    assert processes.recorded(record) is None
    assert processes.end_group(record) == []
    assert sleeper.poll() is None


def test_ending_a_group_takes_what_its_dead_leader_left(tmp_path: Path) -> None:
    record, child_file = tmp_path / "part.pid", tmp_path / "child"
    leader = subprocess.Popen(
        ["sh", "-c", f"sleep 60 & echo $! > {child_file}; wait"], start_new_session=True
    )
    processes.write_record(record, leader.pid)
    while not (child_file.exists() and child_file.read_text().strip()):
        time.sleep(0.01)
    leader.kill()
    leader.wait()
    child = int(child_file.read_text())
    assert processes.end_group(record) == [child]
    assert processes.wait_gone([child], within_s=5) == []


def test_strays_are_found_by_the_mark_they_carry(tmp_path: Path) -> None:
    mark = {processes.PART_VARIABLE: "worker", "MILLRACE_HOME": str(tmp_path)}
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], env=mark, start_new_session=True)
    try:
        deadline = time.monotonic() + 5
        while processes.strays(tmp_path) != [process.pid] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes.strays(tmp_path) == [process.pid]
        assert processes.strays(tmp_path / "other") == []
        assert processes.end_strays(tmp_path) == [process.pid]
    finally:
        process.kill()
        process.wait()


def test_a_missing_or_broken_record_means_nothing_runs(tmp_path: Path) -> None:
    record = tmp_path / "part.pid"
    assert processes.recorded(record) is None
    record.write_text("")
    assert processes.recorded(record) is None
    assert processes.end_group(record) == []
