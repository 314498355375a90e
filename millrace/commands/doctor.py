"""`millrace doctor`: is everything there that the stack needs, and what to do when it is not."""

from collections.abc import Iterable

import typer
from rich.console import Console
from rich.text import Text

from millrace import diagnosis
from millrace.current import stack
from millrace.diagnosis import Finding

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


def doctor() -> None:
    """Check programs, libraries, memory, disk, ports and the state folder.

    Exit code 1 when something would keep the stack from working.
    """
    findings = list(diagnosis.examine(stack()))
    _draw(findings)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def _draw(findings: Iterable[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark, colour = MARKS[finding.level]
        console.print(Text.assemble((mark, colour), f" {finding.subject:<20} {finding.fact}"))
        if finding.advice:
            console.print(f"  {'':<20} -> {finding.advice}")
