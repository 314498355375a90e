"""Brings parts up side by side, each as soon as what it waits for is ready."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from urllib.parse import urlsplit

from millrace.stack import commands, postgres, readiness
from millrace.stack.environment import HOST
from millrace.stack.errors import StackError
from millrace.stack.parts import ALL
from millrace.stack.supervision import Supervisor

# Often at first, for what starts at once; then less, because asking costs the time of those asked.
POLL_FIRST_S, POLL_GROWTH, POLL_LONGEST_S = 0.1, 1.2, 0.6
LOG_TAIL_LINES = 15


class Starter:
    """Prepares, starts, awaits and furnishes parts."""

    def __init__(
        self,
        site: commands.Site,
        supervisor: Supervisor,
        progress: Callable[[str, str], None],
    ) -> None:
        self._site = site
        self._supervisor = supervisor
        self._progress = progress
        self._ready: dict[str, Future[None]] = {}
        self._given_up = threading.Event()

    def bring_up(self, parts: tuple[str, ...]) -> None:
        """Return when every part is ready; `parts` are in starting order."""
        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            for name in parts:
                self._ready[name] = pool.submit(self._bring_up, name)
            try:
                for future in as_completed(self._ready.values()):
                    future.result()
            except BaseException:
                # Also Ctrl-C: the other threads stop waiting instead of holding up the exit.
                self._given_up.set()
                raise

    def _bring_up(self, name: str) -> None:
        try:
            self._await(ALL[name].after)
            self._prepare(name)
            self._progress(name, "starting")
            self._supervisor.start_part(name)
            self._wait_ready(name)
            self._furnish(name)
        except BaseException:
            self._given_up.set()
            raise
        self._progress(name, "ready")

    def _await(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name in self._ready:
                self._ready[name].result()

    def _prepare(self, name: str) -> None:
        site = self._site
        if name == "postgres":
            postgres.prepare(site.layout, site.ports, site.passwords["MILLRACE_POSTGRES_PASSWORD"])
        elif name == "redis":
            (site.layout.home / "redis").mkdir(exist_ok=True)
        elif name == "kafka" and not (site.layout.home / "kafka" / "meta.properties").exists():
            self._progress(name, "formatting its folder")
            done = subprocess.run(
                commands.kafka_format(site), capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise StackError(f"Kafka's folder was not formatted:\n{done.stdout}{done.stderr}")

    def _wait_ready(self, name: str) -> None:
        probe = readiness.probe(name, self._site.ports, self._site.variables)
        deadline = time.monotonic() + ALL[name].ready_within_s
        pause_s = POLL_FIRST_S
        while (missing := probe()) is not None:
            state = self._supervisor.states()[name].state
            if state in ("FATAL", "STOPPED", "EXITED"):
                raise StackError(
                    f"{name} does not run ({state}); its log ends:\n{self._tail(name)}"
                )
            if self._given_up.is_set():
                raise StackError(f"{name} was not ready yet when the start was given up")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{name} is not ready after {ALL[name].ready_within_s} s: {missing}\n"
                    f"Its log ends:\n{self._tail(name)}"
                )
            time.sleep(pause_s)
            pause_s = min(POLL_LONGEST_S, pause_s * POLL_GROWTH)

    def _furnish(self, name: str) -> None:
        """What a ready part still needs before others may use it; each step is idempotent."""
        variables = self._site.variables
        if name == "postgres":
            from millrace.stack import databases

            for line in databases.settle(
                variables["MILLRACE_OLTP_ADMIN_DSN"], self._site.passwords
            ):
                self._progress(name, f"migrated {line}")
        elif name == "kafka":
            from millrace.stack import declaring

            declaring.create_topics(variables["MILLRACE_KAFKA"])
        elif name == "registry":
            from millrace.stack import declaring

            declaring.register_schemas(
                variables["MILLRACE_REGISTRY"], variables["MILLRACE_OLTP_ADMIN_DSN"]
            )
        elif name == "connect":
            self._await(("postgres", "registry"))
            self._progress(name, register_connector(variables))

    def _tail(self, name: str) -> str:
        log = self._site.layout.log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])


def register_connector(variables: Mapping[str, str]) -> str:
    """Register the Debezium connector with these addresses; says what changed."""
    from connectors import register

    oltp = urlsplit(variables["MILLRACE_OLTP_DSN"])
    # Its lineage event goes where the environment says, and this process may have another one.
    with _environment({k: v for k, v in variables.items() if k.startswith("OPENLINEAGE_")}):
        try:
            return register.apply(
                connect_url=variables["MILLRACE_CONNECT"],
                kafka=variables["MILLRACE_KAFKA"],
                registry_url=variables["MILLRACE_REGISTRY"],
                oltp_host=oltp.hostname or HOST,
                oltp_port=oltp.port or 5432,
                oltp_db=oltp.path.removeprefix("/"),
            )
        except register.ConnectorError as error:
            raise StackError(str(error)) from error


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
