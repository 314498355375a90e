"""Authorizations a second: our worker against a raw loop, and against an agent of single events.

Requests wait on a real broker; each side works off its own, with the same effects. About four
minutes.
"""

from __future__ import annotations

from bench import swipes
from bench.pairs import interleave, report

REQUESTS, EVENTS = 10_000, 800


def main() -> None:
    """Measure both rivals on one stack, then prove what they left."""
    with swipes.running() as world:
        ours, raw, event = world.sides
        for name, rival, requests, target in (
            ("raw", raw, REQUESTS, 0.70),
            ("per_event", event, EVENTS, 10.0),
        ):
            pairs = interleave(
                lambda: world.rate(ours, REQUESTS),
                lambda r=rival, n=requests: world.rate(r, n),  # type: ignore[misc]
            )
            report(f"authorization_rate.{name}", pairs, target=target, better="higher")
        world.check()


if __name__ == "__main__":
    main()
