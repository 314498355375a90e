"""`make soak`: many swipes over few accounts while workers are killed, then every invariant.

Requests go straight to the topic, never more than IN_FLIGHT of them undecided. The seed drives
what is sent and when the worker is killed. State is in a temporary folder and gone afterwards,
also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
import psutil
import psycopg
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from millrace.stack import Stack
from tests.faults import copies, invariants
from tests.faults.invariants import AUTHORIZER, Marks
from tests.faults.swipes import Presenting, Swipes, make_cards

IN_FLIGHT, CHUNK = 5000, 500
LOOK_EVERY_S = 0.5
# Sent with nothing decided for so long: the worker does not come back.
STALLED_AFTER_S = 120
LIMIT_MINOR = 200_000
LAST_LINES = 30
ACTIVITY = """
select pid, state, wait_event_type, wait_event, now() - xact_start, left(query, 200)
from pg_stat_activity where datname = current_database() and state <> 'idle'
"""
SUMMARY = """
select reason_code, count(*), coalesce(sum(approved_amount_minor), 0)::bigint
from card.authorizations group by 1 order by 2 desc
"""


@dataclass
class Soak:
    """One run: what was sent, what befell the worker, what came of it."""

    swipes: int
    accounts: int
    kills: int
    seed: int
    console: Console = field(default_factory=lambda: Console(highlight=False))
    killed_at: list[int] = field(default_factory=list)
    peak_mib: int = 0
    seconds: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    presented: Counter[str] = field(default_factory=Counter)

    def run(self, stack: Stack) -> list[str]:
        """Send, kill, drain, check; gives what is wrong."""
        env = stack.env
        cards = make_cards(env["MILLRACE_OLTP_ADMIN_DSN"], self.accounts, self.seed, LIMIT_MINOR)
        since = Marks.of(env)
        began = time.monotonic()
        with self._bars() as bars, Presenting(env["MILLRACE_OLTP_DSN"], cards, self.seed) as shop:
            swipes = Swipes(env, cards, self.seed)
            self._send(stack, swipes, bars)
        self.seconds = time.monotonic() - began
        self.sent, self.presented = swipes.sent, shop.outcomes
        self.console.print("checking the invariants")
        return check(env, since)

    def _send(self, stack: Stack, swipes: Swipes, bars: Progress) -> None:
        """Send it all, then wait for the last of it; each kill has its place among the decided."""
        dice = random.Random(self.seed)
        kills = sorted(dice.randrange(self.swipes) for _ in range(self.kills))
        sent, decided, looked_at, progressed_at = 0, 0, 0.0, time.monotonic()
        while decided < self.swipes:
            if time.monotonic() - looked_at > LOOK_EVERY_S:
                looked_at = time.monotonic()
                now_decided = sent - invariants.behind(stack.env, AUTHORIZER)
                if now_decided > decided:
                    progressed_at = looked_at
                decided = now_decided
                if looked_at - progressed_at > STALLED_AFTER_S:
                    self._say_why(stack)
                    raise RuntimeError(f"nothing was decided for {STALLED_AFTER_S} s")
                bars.update(bars.task_ids[0], completed=decided, waiting=sent - decided)
                is_due = bool(kills) and decided >= kills[0]
                if self._look(stack, decided, is_due):
                    kills.pop(0)
            count = min(CHUNK, self.swipes - sent)
            if not count or sent - decided > IN_FLIGHT:
                time.sleep(0.05)
                continue
            swipes.send(count)
            sent += count
            if sent == self.swipes:
                swipes.flush()

    def _say_why(self, stack: Stack) -> None:
        """What the worker waits for, what Postgres is at, and what both said last."""
        with suppress(httpx.HTTPError):
            health = httpx.get(f"{stack.env['MILLRACE_WORKER']}/health")
            self.console.print(health.text, markup=False)
        with psycopg.connect(stack.env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
            for row in connection.execute(ACTIVITY):
                self.console.print(*row, markup=False)
        for part in ("worker", "postgres"):
            lines = stack.layout.log(part).read_text().splitlines()[-LAST_LINES:]
            self.console.print(*lines, sep="\n", markup=False)

    def _look(self, stack: Stack, decided: int, is_due: bool) -> bool:
        """How large the worker is; and its end, when that is due and it is there."""
        pid = stack.pid("worker")
        if pid is None:
            return False
        self._measure(pid)
        if is_due:
            stack.kill("worker")
            self.killed_at.append(decided)
            self.console.print(f"worker {pid} killed after {decided:,} decisions")
        return is_due

    def _measure(self, pid: int) -> None:
        try:
            self.peak_mib = max(self.peak_mib, psutil.Process(pid).memory_info().rss // 2**20)
        except psutil.Error:
            return

    def _bars(self) -> Progress:
        bars = Progress(
            TextColumn("swipes decided"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(show_speed=True),
            TextColumn("{task.fields[waiting]:,} wait"),
            TimeRemainingColumn(),
            console=self.console,
        )
        bars.add_task("swipes", total=self.swipes, waiting=0)
        return bars

    def table(self, env: dict[str, str]) -> Table:
        """What happened, in numbers."""
        with psycopg.connect(env["MILLRACE_OLTP_ADMIN_DSN"]) as connection:
            reasons = connection.execute(SUMMARY).fetchall()
        table = Table("", "count", "", title=f"Soak, seed {self.seed}", title_justify="left")
        table.columns[1].justify = table.columns[2].justify = "right"
        table.add_row("sent", f"{self.swipes:,}", f"{self.swipes / self.seconds:,.0f} /s")
        for kind, count in self.sent.most_common():
            table.add_row(f"  {kind}", f"{count:,}", "")
        table.add_row("workers killed", f"{len(self.killed_at)}", "")
        table.add_row("largest worker", f"{self.peak_mib:,} MiB", "")
        table.add_section()
        for reason, count, approved_minor in reasons:
            table.add_row(reason, f"{count:,}", f"{approved_minor:,}" if approved_minor else "")
        table.add_section()
        for outcome, count in self.presented.most_common():
            table.add_row(f"presented: {outcome}", f"{count:,}", "")
        return table


def check(env: dict[str, str], since: Marks) -> list[str]:
    """Every invariant; the copies are given a moment to catch up."""
    wrong = [*invariants.books(env["MILLRACE_OLTP_ADMIN_DSN"]), *invariants.accounted(env, since)]
    return wrong + copies.settled(env, only=copies.WRITTEN_THROUGH)


def soak(swipes: int, accounts: int, kills: int, seed: int) -> list[str]:
    """The whole run on a stack of its own."""
    home = Path(tempfile.mkdtemp(prefix="millrace-soak-"))
    home.chmod(0o755)
    stack = Stack(home)
    run = Soak(swipes, accounts, kills, seed)
    run.console.print(
        f"seed {seed}, commit {_commit()}: {swipes:,} swipes over {accounts:,} accounts,"
        f" {kills} kills; state in {home}"
    )
    try:
        stack.up(("worker",))
        wrong = run.run(stack)
        run.console.print(run.table(stack.env))
        return wrong
    finally:
        stack.down(purge=True)


def main() -> int:
    """Exit code 1 when something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make soak")
    parser.add_argument("--swipes", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        wrong = soak(asked.swipes, asked.accounts, asked.kills, asked.seed)
    except KeyboardInterrupt:
        print(f"stopped; seed {asked.seed}", file=sys.stderr)
        return 130
    for line in wrong[:50]:
        print(line, file=sys.stderr)
    verdict = f"{len(wrong)} things are wrong" if wrong else "every invariant holds"
    print(f"{verdict}; seed {asked.seed}")
    return 1 if wrong else 0


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
