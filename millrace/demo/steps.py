"""The demo's steps in order: start, load, live traffic, a tick while traffic goes on, look.

Latency is taken before Spark starts: two cores cannot do both and give a figure that means much.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from millrace import lag
from millrace.demo import collecting, proving
from millrace.demo.report import DemoReport
from millrace.progress import watch
from millrace.stack import PARTS, Stack
from millrace.stack.parts import with_needs
from oltp import importing, privacy, settings, simulator
from oltp.importing import location
from orchestration.run import refresh

# Its sensors would start a run, and with it Spark, in the middle of the latency measurement.
LAST = "dagster-daemon"
CATCH_UP_S = 240
# Heartbeats keep a little of the log unconfirmed at any time.
QUIET_LOG_BYTES = 64 * 1024


@dataclass(frozen=True)
class Wishes:
    """What the caller of `millrace demo` asked for."""

    data: Path | None = None
    customers: int = 200
    seed: int = 7
    rate: float = 40.0
    seconds: float = 15.0


@dataclass
class Run:
    """One demo run; `seconds` fills up with what each step took."""

    stack: Stack
    wishes: Wishes
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def show(self) -> DemoReport:
        """Do everything; the report says what was seen, or why it was not."""
        with self._step("start", "Starting the parts"):
            parts = with_needs(part for part in PARTS if part != LAST)
            with watch(parts) as progress:
                self.stack.up(parts, progress=progress)
            os.environ.update({**self.stack.secrets, **self.stack.env})
        with self._step("load", "Loading data through the operational tables"):
            sources = self._load()
        with self._step("capture", "Waiting until capture and caches have caught up"):
            self._catch_up()
        wishes = self.wishes
        asked = round(wishes.rate * wishes.seconds)
        with self._step("traffic", f"{asked} authorizations, {wishes.rate:g} a second"):
            summary = self._traffic(wishes.rate, wishes.seconds, wishes.seed)
        what = "Bronze, silver, checks, gold (traffic goes on)"
        with self._step("pipeline", what), self._background_traffic():
            result = refresh(progress=self._say)
        with self._step("sensors", "Starting the sensors and schedules"):
            self.stack.up((LAST,))
        with self._step("proofs", "Controls of the ledger, chain of the audit"):
            proved = proving.proofs(self.stack.env, self.stack.privileged)
        return collecting.report(self.stack.env, summary, result, sources, self.seconds, proved)

    def _load(self) -> tuple[str, ...]:
        dsn = self.stack.env["MILLRACE_OLTP_DSN"]
        wishes = self.wishes
        simulator.seed(dsn, customers=wishes.customers, seed=wishes.seed)
        sources = [f"simulated lender of {wishes.customers} customers (seed {wishes.seed})"]
        folder = location.find("berka", wishes.data)
        if folder is None:
            self._say("no Berka files here; name their folder with --data to load them as well")
        else:
            report = importing.run(dsn, "berka", [folder], self._vault)
            left_out = f"{len(report.rejections)} left out"
            sources.append(f"Berka bank files, {report.rows_read:,} rows ({left_out})")
            for rejection in report.rejections:
                self._say(f"left out: {rejection}")
        return tuple(sources)

    def _vault(self) -> privacy.Vault:
        return privacy.Vault.from_settings(settings.read("pii_keys", "pii_index_key"))

    def _catch_up(self) -> None:
        """The load is not the traffic: latency is measured when the load has passed through."""
        env = self.stack.env
        for _ in range(CATCH_UP_S):
            log_bytes = sum(lag.of_slots(env["MILLRACE_OLTP_ADMIN_DSN"]).values())
            messages = sum(lag.of_groups(env["MILLRACE_KAFKA"]).values())
            if log_bytes <= QUIET_LOG_BYTES and messages == 0:
                return
            time.sleep(1)
        self._say(f"still behind: {log_bytes:,} bytes of log, {messages:,} messages; going on")

    def _traffic(self, rate: float, seconds: float, seed: int) -> simulator.Summary:
        env = self.stack.env
        return simulator.traffic(
            dsn=env["MILLRACE_OLTP_DSN"],
            gateway=env["MILLRACE_GATEWAY"],
            kafka=env["MILLRACE_KAFKA"],
            registry=env["MILLRACE_REGISTRY"],
            rate=rate,
            seconds=seconds,
            seed=seed,
        )

    @contextmanager
    def _background_traffic(self) -> Iterator[None]:
        """A few requests a second until the block ends: the tie-out meets a moving target."""
        over = threading.Event()

        def keep_asking() -> None:
            while not over.is_set():
                self._traffic(rate=4.0, seconds=3.0, seed=self.wishes.seed)

        asking = threading.Thread(target=keep_asking, daemon=True)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join(timeout=30)

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        began = time.monotonic()
        self.console.print(f"[bold]{what}[/]")
        yield
        self.seconds[name] = time.monotonic() - began
        self.console.print(f"  [dim]{self.seconds[name]:.1f} s[/]")

    def _say(self, line: str) -> None:
        self.console.print(f"  {line}", markup=False, style="dim", highlight=False)
