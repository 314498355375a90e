"""What a tick costs when nothing is new: as it is done, over one that a new process starts cold.

As it is done: the sensor looks, and shows by three accounts that nothing was committed
(`orchestration.quiet`), which moves what gold is complete through. Cold: a new interpreter, its
imports, its Spark session, the whole graph of `orchestration.run.refresh` over the same lake, the
end; what a timer would start. For the comparison, the whole graph is also run where Spark is warm.
A stack of its own; six minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import psutil
import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from bench.own_stack import own_stack
from bench.pairs import interleave, report

TARGET = 0.1
COLD = "cold"
COLD_WITHIN_S, WARM_TICKS, STEPS_SHOWN = 300.0, 3, 10
# What a tick spends outside its steps: imports, Dagster's run, and the end of a cold process.
AROUND = "around the steps"
PARTS = ("postgres", "redis", "kafka", "registry", "connect")
CUSTOMERS, INSTALLMENTS, PRINCIPAL_MINOR = 5, 3, 8_000
CREDIT = """
insert into credit.active_credits (credit_id, customer_id, credit_number, principal_minor,
    outstanding_principal_minor, currency, interest_rate, term_months, monthly_payment_minor,
    status, disbursed_on, matures_on)
values (%(credit_id)s, %(customer_id)s, 'C-' || %(credit_id)s, %(total)s, %(total)s, 'EUR', 0.07,
    12, 9000, 'CURRENT', '2026-01-01', '2027-01-01')
"""
PAYMENTS = """
insert into credit.payments (payment_id, credit_id, installment_number, due_date,
    due_amount_minor, principal_minor, interest_minor, currency)
select gen_random_uuid(), %(credit_id)s, number, '2026-02-01', %(each)s + 1000, %(each)s, 1000,
    'EUR'
from generate_series(1, %(installments)s) number
"""


@dataclass(frozen=True)
class Cost:
    """What one tick took: by the clock, by all its processes, and step by step."""

    wall_s: float
    cpu_s: float
    steps_s: Mapping[str, float]

    def step_s(self, name: str) -> float:
        """What a step took, or what was around them; nothing when it has no such step."""
        if name == AROUND:
            return self.wall_s - sum(self.steps_s.values())
        return self.steps_s.get(name, 0.0)


def main() -> None:
    """Start a stack, make a lake, tick by turns, stop it."""
    warnings.simplefilter("ignore")
    with own_stack(*PARTS) as stack:
        os.environ.update(stack.env)
        lend(stack.env["MILLRACE_OLTP_ADMIN_DSN"])
        ticks = Ticks()
        full = ticks.full()
        print(f"the full tick before: {full.wall_s:.1f} s, {full.cpu_s:.1f} CPU s")
        pairs = interleave(ticks.shown, ticks.cold)
        warm_s = median(ticks.warm() for _ in range(WARM_TICKS))
        ticks.stop()
        show(ticks.warm_costs, ticks.cold_costs[1:])
        quiet_s = median(ours for ours, _ in pairs)
        print(f"shown to be quiet {quiet_s:.2f} s; the whole graph with Spark warm {warm_s:.2f} s")
        report("tick", pairs, target=TARGET, better="lower")


class Ticks:
    """The ways to run an empty tick; all but the cold one in this process."""

    def __init__(self) -> None:
        self._spark = session()
        self.warm_costs: list[Cost] = []
        self.cold_costs: list[Cost] = []

    def full(self) -> Cost:
        """The tick that makes the lake and the warehouse."""
        return measured(refreshed)

    def shown(self) -> float:
        """No tick at all: that there is nothing for it is shown."""
        return looked()

    def warm(self) -> float:
        """The whole graph, with Spark warm."""
        self.warm_costs.append(measured(lambda: refreshed(empty=True)))
        return self.warm_costs[-1].wall_s

    def cold(self) -> float:
        """In a process of its own, from its start to its end."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "bench.tick", COLD],
            capture_output=True, text=True, check=False, timeout=COLD_WITHIN_S,
        )  # fmt: skip
        wall_s = time.monotonic() - began
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        self.cold_costs.append(Cost(wall_s, told["cpu_s"], told["steps_s"]))
        return wall_s

    def stop(self) -> None:
        """No Spark in this process any more."""
        self._spark.stop()


def alone() -> None:
    """The process of a cold tick: prints what it used, and what the steps took."""
    warnings.simplefilter("ignore")
    began = time.monotonic()
    spark = session()
    session_s = time.monotonic() - began
    steps_s = refreshed(empty=True)
    used_s = cpu_s()
    spark.stop()
    print(json.dumps({"cpu_s": used_s, "steps_s": {"session": session_s, **steps_s}}))


def session() -> Any:
    """Spark as the pipelines build it; a tick takes the one that is there."""
    from pipelines import session as sessions
    from pipelines.settings import Settings

    return sessions.build(Settings(lake=Path(os.environ["MILLRACE_LAKE"])))


def refreshed(empty: bool = False) -> Mapping[str, float]:
    """One tick, which must be exact; what each of its steps took. They run one after the other."""
    from orchestration.run import refresh

    result = refresh()
    assert result.success, result.errors
    assert result.is_exact, [str(figure) for figure in result.tie_out if not figure.is_exact]
    added = {name: rows for name, rows in result.rows["bronze"].items() if rows}
    assert bool(added) != empty, f"bronze took in {added}"
    return {name: seconds for name, seconds in result.seconds.items() if name != "total"}


def measured(tick: Callable[[], Mapping[str, float]]) -> Cost:
    """The cost of a tick in this process."""
    cpu_before_s, began = cpu_s(), time.monotonic()
    steps_s = tick()
    return Cost(time.monotonic() - began, cpu_s() - cpu_before_s, steps_s)


def looked() -> float:
    """What the sensor takes to show that nothing is new, asked each time as it is once a minute."""
    import dagster as dg

    from orchestration import definitions, sensors
    from orchestration.settings import Settings

    job = dg.define_asset_job("refresh", selection=dg.AssetSelection.all())
    sensor = sensors.kafka_news(Settings(), job, confirm_every_s=0)
    repository = definitions.defs.get_repository_def()
    with (
        dg.DagsterInstance.get() as instance,
        dg.build_sensor_context(instance, repository_def=repository) as context,
    ):
        began = time.monotonic()
        answer = sensor(context)
        seconds = time.monotonic() - began
    assert isinstance(answer, dg.SensorResult), answer
    assert not answer.run_requests, answer
    said = answer.skip_reason and answer.skip_reason.skip_message
    assert "complete through" in (said or ""), answer
    return seconds


def cpu_s() -> float:
    """What this process and its children, Spark's JVM among them, have used."""
    own = psutil.Process()
    used = []
    for process in (own, *own.children(recursive=True)):
        # One that ends meanwhile is counted by its parent.
        with suppress(psutil.NoSuchProcess):
            used.append(process.cpu_times())
    return sum(u.user + u.system + u.children_user + u.children_system for u in used)


def lend(dsn: str) -> None:
    """A few customers, each with a credit and its schedule."""
    with psycopg.connect(dsn) as connection:
        for _ in range(CUSTOMERS):
            credit = {
                "customer_id": uuid4(),
                "credit_id": uuid4(),
                "total": PRINCIPAL_MINOR * INSTALLMENTS,
                "each": PRINCIPAL_MINOR,
                "installments": INSTALLMENTS,
            }
            connection.execute(
                "insert into customer.customers (customer_id, country)"
                " values (%(customer_id)s, 'DE')",
                credit,
            )
            connection.execute(CREDIT, credit)
            connection.execute(PAYMENTS, credit)


def show(warm: list[Cost], cold: list[Cost]) -> None:
    """Clock and CPU of both, and where the time goes."""
    table = Table(box=box.SIMPLE, title="an empty tick, median seconds")
    table.add_column("")
    for name in ("warm", "cold"):
        table.add_column(name, justify="right")
    both = (warm, cold)
    table.add_row("wall", *(f"{median(c.wall_s for c in costs):.2f}" for costs in both))
    table.add_row("CPU", *(f"{median(c.cpu_s for c in costs):.2f}" for costs in both))
    table.add_section()
    steps = {
        name: [median(c.step_s(name) for c in costs) for costs in both]
        for name in (*cold[0].steps_s, AROUND)
    }
    for name in sorted(steps, key=lambda name: -max(steps[name]))[:STEPS_SHOWN]:
        table.add_row(name, *(f"{seconds:.2f}" for seconds in steps[name]))
    Console(width=100, highlight=False).print(table)


if __name__ == "__main__":
    if sys.argv[1:] == [COLD]:
        alone()
    else:
        main()
