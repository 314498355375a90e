"""F12: the broker's disk is full. Capture waits, the slot keeps the log, and all of it arrives."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.stack import Stack, StackError
from orchestration import capture_looks
from tests.faults import capture_invariants as invariants
from tests.faults.capture_client import Client
from tests.faults.capture_lake import settings_of

pytestmark = [pytest.mark.stack, pytest.mark.long]
SIZE_MIB = 256
MIB = 1 << 20


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack whose broker has a small disk of its own."""
    home = Path(tempfile.mkdtemp(prefix=f"millrace-test-{os.getpid()}-"))
    home.chmod(0o755)
    disk = home / "kafka"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system of its own for the broker: {mounted.stderr.strip()}")
    stack = Stack(home)
    try:
        stack.up(("postgres", "kafka", "registry", "connect"))
        yield stack
    finally:
        stack.down()
        subprocess.run(["umount", str(disk)], check=True)
        stack.down(purge=True)


def test_f12_the_brokers_disk_is_full_for_a_while(stack, seed) -> None:
    settings = settings_of(stack.env)
    client = Client(settings.oltp_admin_dsn, seed)
    filler = stack.layout.home / "kafka" / "filler"
    with client.writing():
        client.until(ok=100)
        fill(filler)
        before = capture_looks.look(settings).facts
        until(lambda: capture_looks.look(settings).facts.behind_bytes > MIB)
        client.until(ok=200)
        full = capture_looks.look(settings)
        print(f"full: {full.facts.behind_bytes:,} bytes behind, {full.level}")
        # Nothing that was not taken is confirmed, and the log is kept below its limit.
        assert full.facts.restart_lsn == before.restart_lsn or full.facts.kept_bytes < 2 << 30
        assert full.breaks == ()
        filler.unlink()
        healed(stack)
        client.until(ok=50)
    wrong = invariants.violations(client, stack.env, within_s=150)
    assert not wrong, "\n".join(wrong[:30])
    assert capture_looks.look(settings).breaks == ()


def fill(filler: Path) -> None:
    """All that is left, to the last block."""
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(b"\0" * 65536)
        except OSError as error:
            print(f"filled {filler.stat().st_size / MIB:.0f} MiB: {error}")


def healed(stack: Stack, within_s: float = 120) -> None:
    """A broker that gave up is started again, as an operator would after making room."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            for part in ("kafka", "connect"):
                stack.start(part)
            return
        except StackError as error:
            print(f"not yet: {str(error)[:200]}")
            assert time.monotonic() < deadline
            time.sleep(2)


def until(condition, within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the disk was full and capture went on"
        time.sleep(0.5)
