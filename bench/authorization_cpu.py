"""Processor time of one authorization over all processes, beside the raw loop's, in microseconds.

At a steady 1,000/s: Postgres, Redis, Kafka and whoever decides. The load generator is not counted.
About two minutes.
"""

from __future__ import annotations

from collections import Counter

import psutil

from bench import swipes
from bench.pairs import interleave, report
from bench.swipes import Side, Swipes

RATE, SECONDS, WARM_UP_S = 1000.0, 6.0, 1.0
TARGET = 1.43
PARTS = ("postgres", "redis", "kafka")


def main() -> None:
    """Pairs on one stack."""
    with swipes.running() as world:
        ours, raw, _ = world.sides
        for side in (ours, raw):
            side.start()
        pairs = interleave(lambda: cost_us(world, ours), lambda: cost_us(world, raw))
        report("authorization_cpu", pairs, target=TARGET, better="lower")
        world.check()


def cost_us(world: Swipes, side: Side) -> float:
    """Microseconds of processor time an authorization while the side decides; the other waits."""
    world.latencies_ms(side, RATE, WARM_UP_S)
    before = seconds(world, side)
    world.latencies_ms(side, RATE, SECONDS)
    spent = seconds(world, side)
    spent.subtract(before)
    each = {name: used / (RATE * SECONDS) * 1e6 for name, used in spent.items()}
    print(f"  {side.name:10} " + ", ".join(f"{name} {us:.0f}" for name, us in each.items()) + " us")
    return sum(each.values())


def seconds(world: Swipes, side: Side) -> Counter[str]:
    """Processor seconds so far of every part, its children included."""
    pids = {name: world.stack.pid(name) for name in PARTS}
    used: Counter[str] = Counter()
    for name, pid in {**pids, "decider": side.pid}.items():
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            used[name] += times.user + times.system
    return used


if __name__ == "__main__":
    main()
