"""What a suite found: one outcome a rule, and whether the table may be published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One rule's result. `sample` is a few of the rows that broke it, personal data masked."""

    name: str
    type: str
    column: str | None
    severity: str
    success: bool
    evaluated: int
    unexpected: int
    sample: tuple[Mapping[str, Any], ...] = ()
    why: str = ""
    # Set when the rule could not be evaluated at all, which counts as failed.
    error: str | None = None

    @property
    def unexpected_percent(self) -> float:
        """Broken rows of those evaluated, 0 to 100."""
        return 100.0 * self.unexpected / self.evaluated if self.evaluated else 0.0

    @property
    def blocks(self) -> bool:
        """Whether this outcome holds back the publish of its table."""
        return self.severity == "error" and not self.success

    def __str__(self) -> str:
        if self.error:
            return f"{self.name} ({self.severity}): could not be evaluated: {self.error}"
        return f"{self.name} ({self.severity}): {self.unexpected} of {self.evaluated} rows"


@dataclass(frozen=True)
class SuiteResult:
    """One suite on one increment or mart. An empty one has no outcomes and passes."""

    suite: str
    entity: str
    rows: int
    outcomes: tuple[Outcome, ...]
    checked_at: datetime
    # The library's own result as JSON, personal data masked: what data docs are rendered from.
    document: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def success(self) -> bool:
        """No rule failed, of either severity."""
        return not self.failures

    @property
    def blocked(self) -> bool:
        """A rule of severity error failed: the table must not be published."""
        return any(outcome.blocks for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The rules that failed, errors first."""
        failed = (outcome for outcome in self.outcomes if not outcome.success)
        return tuple(sorted(failed, key=lambda outcome: outcome.severity != "error"))

    def __str__(self) -> str:
        if not self.outcomes:
            return f"{self.suite}: passed, 0 rows to evaluate"
        if self.success:
            return f"{self.suite}: passed, {len(self.outcomes)} rules over {self.rows} rows"
        verdict = "blocked" if self.blocked else "passed with warnings"
        return f"{self.suite}: {verdict}: " + "; ".join(str(outcome) for outcome in self.failures)
