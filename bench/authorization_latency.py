"""How long an answer takes, request on the topic to decision on the topic, beside a raw loop's.

Open loop: a request that waits behind others counts from its planned moment. At 200/s, at 1,000/s
and at half of what the worker can do; then HTTP at 200/s. About five minutes.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from statistics import quantiles

import aiohttp

from bench import swipes
from bench.pairs import interleave, report
from bench.swipes import Side, Swipes

SECONDS, CAPACITY_REQUESTS = 5.0, 6000
# The broker's compiler needs a while before it leaves the two cores to the others.
WARM_UP_RATE, WARM_UP_S = 600.0, 15.0
RATES = (200, 1000)
P95_TARGET = 1.3
P99_LIMIT_MS, HTTP_P99_LIMIT_MS, HTTP_RATE = 50.0, 60.0, 200


def main() -> None:
    """Each rate in pairs, then HTTP. Whoever is not asked waits, which costs nothing."""
    with swipes.running(("worker", "gateway")) as world:
        ours, raw, _ = world.sides
        capacity = world.rate(ours, CAPACITY_REQUESTS)
        print(f"capacity {capacity:,.0f}/s")
        for side in (ours, raw):
            side.start()
            world.latencies_ms(side, WARM_UP_RATE, WARM_UP_S)
        for name, rate in (*((str(r), float(r)) for r in RATES), ("half", capacity / 2)):
            print(f"at {rate:,.0f}/s")
            tails: list[float] = []
            pairs = interleave(
                lambda r=rate, t=tails: p95(world, ours, r, t.append),  # type: ignore[misc]
                lambda r=rate: p95(world, raw, r, lambda _: None),  # type: ignore[misc]
            )
            report(f"authorization_latency.p95_{name}", pairs, target=P95_TARGET, better="lower")
            if name != "half":
                limits = [(tail, P99_LIMIT_MS) for tail in tails[1:]]
                report(f"authorization_latency.p99_{name}", limits, target=1.0, better="lower")
        raw.stop()
        tails = [asyncio.run(http_p99_ms(world)) for _ in range(6)][1:]
        limits = [(tail, HTTP_P99_LIMIT_MS) for tail in tails]
        report("authorization_latency.http_p99_200", limits, target=1.0, better="lower")
        ours.stop()
        world.check()


def p95(world: Swipes, side: Side, rate: float, tail: Callable[[float], None]) -> float:
    """The side's p95 in ms; its p99 goes to `tail`."""
    found = percentiles(world.latencies_ms(side, rate, SECONDS))
    print(f"  {side.name:10} p50 {found[50]:.1f} p95 {found[95]:.1f} p99 {found[99]:.1f} ms")
    tail(found[99])
    return found[95]


def percentiles(latencies_ms: list[float]) -> dict[int, float]:
    """p50, p95 and p99."""
    cuts = quantiles(latencies_ms, n=100, method="inclusive")
    return {share: cuts[share - 1] for share in (50, 95, 99)}


async def http_p99_ms(world: Swipes) -> float:
    """The gateway's p99 in ms, open loop."""
    url = f"{world.stack.env['MILLRACE_GATEWAY']}/v1/authorizations"
    latencies: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:

        async def one(moment: float) -> None:
            world.asked += 1
            body = {
                "card_id": world.cards[world.asked * swipes.SIDES % len(world.cards)],
                "amount_minor": 1,
                "currency": "USD",
                "merchant_id": "M-1",
                "mcc": "5411",
                "merchant_country": "DE",
                "channel": "CHIP",
                "network_transaction_id": f"B-{uuid.uuid4()}",
                "deadline_ms": 10_000,
            }
            async with session.post(url, json=body) as answer:
                found = await answer.json()
                if found.get("decision") != "APPROVED":
                    raise RuntimeError(f"not approved: {found}")
            latencies.append((time.perf_counter() - moment) * 1000)

        began = time.perf_counter() + 0.1
        tasks = []
        for number in range(int(HTTP_RATE * SECONDS)):
            moment = began + number / HTTP_RATE
            await asyncio.sleep(max(0, moment - time.perf_counter()))
            tasks.append(asyncio.create_task(one(moment)))
        await asyncio.gather(*tasks)
    found = percentiles(latencies)
    print(f"  HTTP       p50 {found[50]:.1f} p95 {found[95]:.1f} p99 {found[99]:.1f} ms")
    return found[99]


if __name__ == "__main__":
    main()
