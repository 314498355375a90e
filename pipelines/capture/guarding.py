"""One look at the slot: read, judged by earlier looks, remembered. Broken capture stops here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipelines.capture import reading, remembering
from pipelines.capture.judging import BROKEN, Facts, Verdict, judge, lsn
from pipelines.capture.remembering import Break

WHAT_TO_DO = (
    "Nothing is built on it until `millrace connectors recover` has taken a new snapshot beside the"
    " stream and compared it (connectors/README.md, When changes are missing)"
)


class CaptureBroken(RuntimeError):
    """Changes are missing or may be; the message says which stretch and what to do."""


@dataclass(frozen=True)
class Look:
    """What was seen, what it means, and the breaks that are open now."""

    facts: Facts
    verdict: Verdict
    breaks: tuple[Break, ...]

    @property
    def level(self) -> str:
        """The verdict's, or broken for as long as a break is open."""
        return BROKEN if self.breaks else self.verdict.level


def look(
    admin_dsn: str,
    warehouse_dsn: str,
    slot: str = reading.SLOT,
    stored: Callable[[], int | None] = lambda: None,
) -> Look:
    """`stored`: how far Connect says that it got, asked after the slot."""
    # Read in this order: whatever another look adds meanwhile is older than these facts or unseen.
    history = remembering.looks(warehouse_dsn, slot)
    facts = _facts(admin_dsn, slot, stored)
    verdict = judge(facts, history)
    remembering.remember(warehouse_dsn, facts, verdict)
    return Look(facts, verdict, tuple(remembering.open_breaks(warehouse_dsn, slot)))


def _facts(admin_dsn: str, slot: str, stored: Callable[[], int | None]) -> Facts:
    facts, said = reading.facts(admin_dsn, slot), stored()
    if said is None or said <= facts.current_lsn:
        return replace(facts, stored_lsn=said)
    # Connect went on between the two, or this server's log ends before what it has captured.
    facts, later = reading.facts(admin_dsn, slot), stored()
    if later is not None and said <= facts.current_lsn:
        later = min(later, facts.current_lsn)
    return replace(facts, stored_lsn=later)


def require(found: Look) -> None:
    """Raise CaptureBroken while a break is open."""
    if found.breaks:
        said = "; ".join(explained(b) for b in found.breaks)
        raise CaptureBroken(f"capture is broken: {said}. {WHAT_TO_DO}")


def explained(found: Break) -> str:
    """A break in one line, with the stretch of log that may be missing."""
    stretch = f" [{lsn(found.lost_from_lsn)}..{lsn(found.lost_to_lsn)}]"
    return f"{found.said}{stretch if found.lost_from_lsn is not None else ''}"
