"""Control of the process supervisor (supervisord) that keeps the parts alive."""

import contextlib
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.stack import processes
from millrace.stack.environment import HOST
from millrace.stack.errors import StackError
from millrace.stack.layout import Layout

SUPERVISORD = "supervisord"


@dataclass(frozen=True)
class State:
    """One part as the supervisor sees it: RUNNING, STARTING, BACKOFF, STOPPED, FATAL ..."""

    name: str
    state: str
    pid: int | None = None
    started_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether there is, or is about to be, a process."""
        return self.state in ("RUNNING", "STARTING")


class Supervisor:
    """One supervisord, reached through its loopback control port."""

    def __init__(self, layout: Layout, port: int, password: str) -> None:
        self._layout = layout
        self._url = f"http://millrace:{password}@{HOST}:{port}/RPC2"

    def alive(self) -> bool:
        """Whether our supervisord runs and answers."""
        if processes.recorded(self._layout.record(SUPERVISORD)) is None:
            return False
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            return bool(self._call("supervisor.getState")["statename"] == "RUNNING")
        return False

    def start(self) -> None:
        """Start supervisord in a session of its own, so that it outlives the terminal."""
        command = [sys.executable, "-m", "supervisor.supervisord"]
        command += ["-c", str(self._layout.conf / "supervisord.conf")]
        with self._layout.log("supervisord.out").open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=self._layout.home,
                env=_environment(),
            )
        processes.write_record(self._layout.record(SUPERVISORD), process.pid)
        deadline = time.monotonic() + 15
        while not self.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                log = self._layout.log("supervisord.out").read_text()[-2000:]
                raise StackError(f"the process supervisor did not start:\n{log}")
            time.sleep(0.05)

    def states(self) -> dict[str, State]:
        """State of every part."""
        found = {}
        for info in self._call("supervisor.getAllProcessInfo"):
            up = info["statename"] == "RUNNING"
            found[info["name"]] = State(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"] or None,
                started_at=float(info["start"]) if up else None,
            )
        return found

    def start_part(self, name: str) -> None:
        """Start the part unless it runs or is about to."""
        # 60: already started. 50: ended while being started; it is retried like any other crash.
        self._call("supervisor.startProcess", name, False, ignored=(60, 50))

    def stop_parts(self, names: Iterable[str], within_s: float = 45) -> None:
        """Stop the parts together and wait until each one has."""
        left = set(names)
        for name in left:
            self._call("supervisor.stopProcess", name, False, ignored=(70,))
        deadline = time.monotonic() + within_s
        stopped = ("STOPPED", "EXITED", "FATAL")
        while left:
            states = self.states()
            left = {name for name in left if states[name].state not in stopped}
            if left and time.monotonic() > deadline:
                raise StackError(f"these parts do not stop: {', '.join(sorted(left))}")
            time.sleep(0.05)

    def shutdown(self) -> None:
        """End supervisord; parts that still run are stopped first."""
        pid = processes.recorded(self._layout.record(SUPERVISORD))
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            self._call("supervisor.shutdown")
        if pid is not None and processes.wait_gone([pid], within_s=60):
            processes.end_group(self._layout.record(SUPERVISORD))

    def _call(self, method: str, *arguments: Any, ignored: tuple[int, ...] = ()) -> Any:
        # A connection a call: the proxy is not safe to share between threads.
        with xmlrpc.client.ServerProxy(self._url) as server:
            try:
                return getattr(server, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode in ignored:
                    return None
                raise StackError(f"the process supervisor refused: {fault.faultString}") from fault


def _environment() -> dict[str, str]:
    """The caller's environment without its own settings, and our tools first on PATH.

    Every part starts from this and adds what its launch file says.
    """
    ours = ("MILLRACE_", "OPENLINEAGE_", "DAGSTER_", "PYTEST_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    tools = str(Path(sys.executable).parent)
    return kept | {"PATH": tools + os.pathsep + kept.get("PATH", "/usr/bin:/bin")}
