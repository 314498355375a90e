"""How a comparison of two versions of the rules is shown: tables, a line of days, or a document."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.authorization.comparing import Amounts, Comparison

BARS = " ▁▂▃▄▅▆▇█"


def show(console: Console, found: Comparison, title: str) -> None:
    """Print it: totals first, then reasons, days, examples."""
    console.print(_totals(found, title))
    if found.by_reason:
        console.print(_reasons(found))
    if len(found.days) > 1:
        console.print(f"changed per day  {_line(found)}  {min(found.days)} to {max(found.days)}")
    if found.examples:
        console.print(_examples(found))
    if found.without_facts:
        console.print(
            f"{found.without_facts:,} were decided elsewhere and keep no facts: only what their own"
            " columns tell was judged"
        )
    for why, count in found.passed_over.items():
        console.print(f"{count:,} not judged: {why}")


def as_document(found: Comparison) -> dict[str, Any]:
    """The same for programs."""
    return {
        "version": found.version,
        "judged": found.judged,
        "same": _amounts(found.same),
        "changed": _amounts(found.changed),
        "newly_declined": _amounts(found.newly_declined),
        "newly_approved": _amounts(found.newly_approved),
        "by_reason": [
            {"was": was, "would_be": would_be, **_amounts(amounts)}
            for (was, would_be), amounts in _ordered(found)
        ],
        "days": {str(day): asdict(found.days[day]) for day in sorted(found.days)},
        "examples": [asdict(example) for example in found.examples],
        "without_facts": found.without_facts,
        "not_judged": dict(found.passed_over),
    }


def _totals(found: Comparison, title: str) -> Table:
    table = Table("", "decisions", "share", "amounts", title=title)
    for column in (1, 2):
        table.columns[column].justify = "right"
    for name, amounts in (
        ("same", found.same),
        ("changed", found.changed),
        ("  approved, would be declined", found.newly_declined),
        ("  declined, would be approved", found.newly_approved),
    ):
        share = f"{100 * amounts.count / found.judged:.2f} %" if found.judged else "-"
        table.add_row(name, f"{amounts.count:,}", share, _money(amounts))
    return table


def _reasons(found: Comparison) -> Table:
    table = Table("was", "would be", "decisions", "amounts", title="What changes")
    table.columns[2].justify = "right"
    for (was, would_be), amounts in _ordered(found):
        table.add_row(was, would_be, f"{amounts.count:,}", _money(amounts))
    return table


def _examples(found: Comparison) -> Table:
    table = Table(
        "decision", "when (UTC)", "amount", "was", "would be", "because", title="Examples"
    )
    table.columns[2].justify = "right"
    for one in found.examples:
        table.add_row(
            one.authorization_id,
            f"{one.decided_at:%Y-%m-%d %H:%M:%S}",
            f"{one.amount_minor:,} {one.currency}",
            one.was,
            one.would_be,
            one.explanation,
        )
    return table


def _line(found: Comparison) -> str:
    """One character a day, as high as the day's changes are to the day with most."""
    first, last = min(found.days), max(found.days)
    most = max(day.changed for day in found.days.values()) or 1
    changed = (
        found.days[day].changed if (day := first + timedelta(days=n)) in found.days else 0
        for n in range((last - first).days + 1)
    )
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in changed)


def _ordered(found: Comparison) -> list[tuple[tuple[str, str], Amounts]]:
    return sorted(found.by_reason.items(), key=lambda item: (-item[1].count, item[0]))


def _money(amounts: Amounts) -> str:
    return ", ".join(f"{minor:,} {currency}" for currency, minor in sorted(amounts.minor.items()))


def _amounts(amounts: Amounts) -> dict[str, Any]:
    return {"decisions": amounts.count, "amounts_minor": dict(sorted(amounts.minor.items()))}
