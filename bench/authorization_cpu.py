"""Processor time of one authorization over all processes, beside the raw loop's, in microseconds.

At a steady 1,000/s: Postgres, Redis, Kafka and whoever decides. The load generator is not counted.
About two minutes.
"""

from __future__ import annotations

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
    after = seconds(world, side)
    each = {name: (after[name] - before[name]) / (RATE * SECONDS) * 1e6 for name in after}
    print(f"  {side.name:10} " + ", ".join(f"{name} {us:.0f}" for name, us in each.items()) + " us")
    return sum(each.values())


def seconds(world: Swipes, side: Side) -> dict[str, float]:
    """Processor seconds so far of every part, its children included."""
    pids = {name: world.stack.pid(name) for name in PARTS}
    used: dict[str, float] = {}
    for name, pid in {**pids, "decider": side.pid}.items():
        process = psutil.Process(pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        used[name] = sum(one.user + one.system for one in times)
    return used


if __name__ == "__main__":
    main()
