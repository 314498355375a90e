"""A look in words: one line, and a line for each thing that is to be told."""

from __future__ import annotations

from pipelines.capture.guarding import WHAT_TO_DO, Look, explained
from pipelines.capture.judging import BROKEN

UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def line(found: Look) -> str:
    """The slot in one line."""
    facts = found.facts
    if not facts.exists:
        return f"slot {facts.slot} is not there"
    limit = f" of {size(facts.limit_bytes)}" if facts.limit_bytes else ""
    return (
        f"slot {facts.slot} {found.level}: keeps {size(facts.kept_bytes)}{limit},"
        f" {size(facts.behind_bytes)} and {found.verdict.behind_s:.0f} s behind"
    )


def size(number: int | None) -> str:
    """Bytes for people."""
    if number is None:
        return "-"
    for name, length in UNITS:
        if abs(number) >= length:
            return f"{number / length:.1f} {name}"
    return f"{number} B"


def said(found: Look) -> list[str]:
    """What is to be told, the worst first; open breaks are told every time."""
    breaks = [f"{BROKEN}: {explained(b)}. {WHAT_TO_DO}" for b in found.breaks]
    return breaks + [f"{f.level}: {f.said}" for f in found.verdict.findings if f.level != BROKEN]
