"""Process records and their end: what we started is known by process id and start time."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

# Set in the environment of every supervised process, so that strays can be found.
PART_VARIABLE = "MILLRACE_PART"


def write_record(file: Path, pid: int) -> None:
    """Remember a process; the start time tells it from a later one with the same id."""
    file.write_text(f"{pid} {_start_ticks(pid)}\n")


def recorded(file: Path) -> int | None:
    """The recorded process's id while that very process lives, otherwise nothing."""
    try:
        pid, ticks = (int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return None
    return pid if _start_ticks(pid) == ticks else None


def end_group(file: Path) -> list[int]:
    """SIGKILL what is left of the recorded process's group; returns the ids.

    Every part leads its own group. The system gives no process the id of a living group, so
    a process of that id with another start time proves that the group is gone.
    """
    try:
        pid, ticks = (int(word) for word in file.read_text().split())
    except (OSError, ValueError):
        return []
    if _start_ticks(pid) not in (None, ticks):
        return []
    members = {p for p in psutil.pids() if _group(p) == pid and _lives(p)} - {os.getpid()}
    if _start_ticks(pid) == ticks:
        members.add(pid)
    return _kill(sorted(members))


def end_strays(home: Path) -> list[int]:
    """SIGKILL processes that carry this stack's mark but belong to no recorded group."""
    return _kill(strays(home))


def strays(home: Path) -> list[int]:
    """Ids of living processes that were started as a part of the stack at `home`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(PART_VARIABLE) and environment.get("MILLRACE_HOME") == str(home):
                found.append(process.pid)
    return found


def wait_gone(pids: Iterable[int], within_s: float) -> list[int]:
    """Wait until none of them lives; returns those that still do."""
    deadline = time.monotonic() + within_s
    left = [pid for pid in pids if _lives(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [pid for pid in left if _lives(pid)]
    return left


def _kill(pids: list[int]) -> list[int]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_gone(pids, within_s=5)
    return pids


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _start_ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot: unlike a date it does not move with the clock.

    None when there is no such process, or only what is left of it until its parent looks.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name (second field, in parentheses) may itself hold spaces.
    state, *fields = stat.rpartition(")")[2].split()
    return int(fields[18]) if state != "Z" else None
