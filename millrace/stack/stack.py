"""The local stack: `Stack(home).up()` until everything answers, `.down()` until nothing is left."""

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from millrace.stack import commands, environment, passwords, postgres, processes, rendering
from millrace.stack import ports as stack_ports
from millrace.stack.dotenv import render
from millrace.stack.errors import StackError
from millrace.stack.layout import CHECKOUT, Layout
from millrace.stack.parts import ALL, PARTS, PORT_NAMES, STORES, with_needs
from millrace.stack.starting import Starter
from millrace.stack.supervision import SUPERVISORD, State, Supervisor

__all__ = ["Stack", "StackError"]

# Called with a part's name and what happened to it: starting, ready, or a line of detail.
Progress = Callable[[str, str], None]


class Stack:
    """One stack; all of its state is below `home`. Nothing starts before `up`."""

    def __init__(
        self, home: Path, jars: Path = CHECKOUT / ".jars", spark_master: str = "local[2]"
    ) -> None:
        self.layout = Layout(home.resolve())
        self._jars = jars.resolve()
        self._spark_master = spark_master

    @property
    def ports(self) -> dict[str, int]:
        """The stack's ports; chosen and remembered on first use."""
        remembered = stack_ports.load(self.layout.ports_file)
        if set(remembered) == set(PORT_NAMES):
            return remembered
        return self._settle_ports(remembered, in_use=remembered)

    @property
    def secrets(self) -> dict[str, str]:
        """The generated passwords."""
        self.layout.make()
        return passwords.load_or_generate(self.layout.secrets_file)

    @property
    def env(self) -> dict[str, str]:
        """The MILLRACE_ variables that every process of the stack gets."""
        return environment.variables(
            self.layout, self.ports, self.secrets, self._jars, self._spark_master
        )

    @property
    def privileged(self) -> dict[str, str]:
        """What only single commands are given: keys of personal data, the roles that read it."""
        return environment.privileged(self.layout, self.ports, self.secrets)

    def up(self, parts: Iterable[str] = PARTS, progress: Progress | None = None) -> None:
        """Start the parts and what they need; returns when each one answers. Idempotent."""
        wanted = with_needs(parts)
        with self._locked():
            if not self._supervisor.alive():
                self._clear_remains()
                self._settle_ports(stack_ports.load(self.layout.ports_file), in_use=())
            if self._write_configuration() and self._supervisor.alive():
                self._stop_everything()
            if not self._supervisor.alive():
                self._supervisor.start()
            Starter(self._site(), self._supervisor, progress or _ignore).bring_up(wanted)

    def down(self, purge: bool = False) -> None:
        """Stop everything; no process is left. With `purge` the state folder goes as well."""
        with self._locked():
            if self._supervisor.alive():
                self._stop_everything()
            self._clear_remains()
            if purge:
                shutil.rmtree(postgres.data_folder(self.layout), ignore_errors=True)
        if purge:
            shutil.rmtree(self.layout.home, ignore_errors=True)

    def status(self) -> dict[str, State]:
        """Every part as the supervisor sees it; all STOPPED when it does not run."""
        if self.layout.home.is_dir() and self._supervisor.alive():
            return self._supervisor.states()
        return {name: State(name, "STOPPED") for name in PARTS}

    def start(self, part: str, progress: Progress | None = None) -> None:
        """Start one part again and wait until it answers."""
        Starter(self._site(), self._supervisor, progress or _ignore).bring_up((part,))

    def stop(self, part: str) -> None:
        """Stop one part; it stays down until `start` or `up`."""
        self._supervisor.stop_parts((part,))

    def kill(self, part: str, number: int = signal.SIGKILL) -> int:
        """Send SIGKILL (or another signal) to the part, which restarts it; returns the old id."""
        pid = self.pid(part)
        if pid is None:
            raise StackError(f"{part} is not running")
        os.kill(pid, number)
        return pid

    def pid(self, part: str) -> int | None:
        """The part's process id while it runs."""
        return processes.recorded(self.layout.record(part))

    @property
    def _supervisor(self) -> Supervisor:
        password = self.secrets["MILLRACE_SUPERVISOR_PASSWORD"]
        return Supervisor(self.layout, self.ports["supervisor"], password)

    def _site(self) -> commands.Site:
        java = shutil.which("java")
        if not java:
            raise StackError("there is no Java: run scripts/setup")
        return commands.Site(
            self.layout, self.ports, self.secrets, self.env, self.privileged, self._jars, java
        )

    def _settle_ports(self, remembered: dict[str, int], in_use: Iterable[str]) -> dict[str, int]:
        self.layout.make()
        settled = stack_ports.settle(remembered, seed=str(self.layout.home), in_use=in_use)
        stack_ports.save(self.layout.ports_file, settled)
        return settled

    def _write_configuration(self) -> bool:
        """Write every configuration file; true when what the parts run with has changed."""
        before = self._configuration()
        site = self._site()
        commands.write_launches(site)
        # Also without Dagster's own parts: a tick run from the command line uses its instance.
        commands.write_dagster(site)
        programs = [
            rendering.program(self.layout, p.name, commands.PYTHON, p.stop_signal, p.stop_wait_s)
            for p in ALL.values()
        ]
        password = site.passwords["MILLRACE_SUPERVISOR_PASSWORD"]
        passwords.write_private(
            self.layout.conf / "supervisord.conf",
            rendering.supervisord(self.layout, site.ports["supervisor"], password, programs),
        )
        passwords.write_private(self.layout.env_file, render(site.variables))
        return before != self._configuration()

    def _configuration(self) -> dict[str, str]:
        return {
            file.name: file.read_text() for file in self.layout.conf.iterdir() if file.is_file()
        }

    def _stop_everything(self) -> None:
        running = {name for name, state in self._supervisor.states().items() if state.running}
        self._supervisor.stop_parts(running.difference(STORES))
        self._supervisor.stop_parts(running.intersection(STORES))
        self._supervisor.shutdown()

    def _clear_remains(self) -> None:
        """End what outlived its supervisor, and what a part left behind."""
        processes.end_group(self.layout.record(SUPERVISORD))
        leaders = {name: self.pid(name) for name in PARTS}
        for name in reversed(PARTS):
            pid = leaders[name]
            if pid is not None:
                # Stores get the chance to end cleanly, as the supervisor would have given them.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, getattr(signal, f"SIG{ALL[name].stop_signal}"))
        processes.wait_gone([pid for pid in leaders.values() if pid is not None], within_s=10)
        for name in PARTS:
            processes.end_group(self.layout.record(name))
            self.layout.record(name).unlink(missing_ok=True)
        self.layout.record(SUPERVISORD).unlink(missing_ok=True)
        processes.end_strays(self.layout.home)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `down` at a time per stack."""
        self.layout.make()
        with (self.layout.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _ignore(part: str, event: str) -> None:
    """Progress that nobody wants to see."""
