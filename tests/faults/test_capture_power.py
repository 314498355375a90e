"""F35: the power goes. A copy of every folder, made while all stood still, goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from millrace.stack import Stack
from orchestration import capture_looks
from tests.conftest import temporary_stack
from tests.faults import capture_invariants as invariants
from tests.faults.capture_client import OK, Client
from tests.faults.capture_lake import settings_of

pytestmark = [pytest.mark.stack, pytest.mark.long]
PARTS = ("postgres", "kafka", "registry", "connect")


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack that does not come back."""
    yield from temporary_stack(PARTS)


def test_f35_the_copy_has_every_acknowledged_write_and_captures_on(stack, seed) -> None:
    client = Client(stack.env["MILLRACE_OLTP_ADMIN_DSN"], seed)
    home = Path(tempfile.mkdtemp(prefix=f"millrace-test-{os.getpid()}-"))
    with client.writing():
        client.until(ok=200)
        # The database first: nothing may be acknowledged that the copy has not.
        frozen = [process for part in PARTS for process in freeze(stack, part)]
        acknowledged = client.count(OK)
        copy(stack, home)
        # All at once: who stands still answers nobody, and would not end when it is told to.
        for process in frozen:
            process.kill()
        stack.down()
    print(f"{acknowledged} transactions were acknowledged when the power went")
    again = Stack(home)
    try:
        again.up(PARTS)
        # Nothing was acknowledged after it, and what was under way is unknown.
        assert client.count(OK) == acknowledged
        wrong = invariants.violations(client, again.env)
        more = Client(again.env["MILLRACE_OLTP_ADMIN_DSN"], seed + 1)
        more.write(100)
        wrong += invariants.violations(more, again.env)
        assert not wrong, "\n".join(wrong[:30])
        assert capture_looks.look(settings_of(again.env)).breaks == ()
    finally:
        again.down(purge=True)


def freeze(stack: Stack, part: str) -> list[psutil.Process]:
    """The part's processes, the first of them first: it starts no other one meanwhile."""
    pid = stack.pid(part)
    assert pid
    leader = psutil.Process(pid)
    leader.send_signal(signal.SIGSTOP)
    frozen = [leader, *leader.children(recursive=True)]
    for process in frozen[1:]:
        process.send_signal(signal.SIGSTOP)
    return frozen


def copy(stack: Stack, home: Path) -> None:
    """Everything but what tells which processes run."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{stack.layout.home}/.", str(home)], check=True)
    home.chmod(0o755)
    shutil.rmtree(home / "run")
    (home / "postgres" / "postmaster.pid").unlink()
