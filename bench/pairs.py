"""Runs two contenders by turns and prints the ratio of their figures, median and worst pair."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

Contender = Callable[[], float]


def interleave(ours: Contender, theirs: Contender, rounds: int = 5) -> list[tuple[float, float]]:
    """One uncounted warm-up of each, then pairs; who goes first alternates."""
    ours(), theirs()
    pairs = []
    for number in range(rounds):
        if number % 2:
            second = theirs()
            pairs.append((ours(), second))
        else:
            first = ours()
            pairs.append((first, theirs()))
        print(f"pair {number + 1}: ours {pairs[-1][0]:,.1f}, theirs {pairs[-1][1]:,.1f}")
    return pairs


def report(name: str, pairs: list[tuple[float, float]], target: float, better: str) -> None:
    """The last line: plain numbers. `better` says which way the ratio ours/theirs should go."""
    ratios = [ours / theirs for ours, theirs in pairs]
    worst = min(ratios) if better == "higher" else max(ratios)
    print(
        f"{name} ratio={median(ratios):.2f} worst={worst:.2f} target={target:.2f} better={better}"
    )
