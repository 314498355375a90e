"""What another version of the rules would have changed, counted as it streams by. Pure.

What is compared are verdicts of the policy. An approval is judged once more under the account's
lock, where money may still refuse it: the same for every version, so it changes no comparison.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from schemas.codes import Reason

APPROVED = str(Reason.APPROVED)
MOST_EXAMPLES = 10


@dataclass(frozen=True)
class Compared:
    """One decision: the reason that was given, and the one that the other version gives."""

    authorization_id: str
    idempotency_key: str
    decided_at: datetime
    amount_minor: int
    currency: str
    was: str
    would_be: str
    # Of the rule that makes the difference.
    explanation: str = ""
    # False: decided elsewhere, with no facts kept; only what its own columns tell was judged.
    has_facts: bool = True

    @property
    def is_same(self) -> bool:
        """True when the other version gives the same reason."""
        return self.was == self.would_be


def outcome(was: str, was_refused_by_rules: bool, would_be: str) -> str:
    """What the other version's verdict comes to.

    Where both approve, money under the lock had the last word, and would have it again.
    """
    return was if would_be == APPROVED and not was_refused_by_rules else would_be


@dataclass
class Amounts:
    """Decisions and what they asked for, by currency: never added across currencies."""

    count: int = 0
    minor: Counter[str] = field(default_factory=Counter)

    def add(self, one: Compared) -> None:
        """Count it in."""
        self.count += 1
        self.minor[one.currency] += one.amount_minor


@dataclass
class Day:
    """How many decisions a day had, and how many of them change."""

    judged: int = 0
    changed: int = 0


@dataclass
class Comparison:
    """The sum of what streamed by. Grows with reasons, currencies and days, not with decisions."""

    version: str
    most_examples: int = MOST_EXAMPLES
    same: Amounts = field(default_factory=Amounts)
    changed: Amounts = field(default_factory=Amounts)
    newly_declined: Amounts = field(default_factory=Amounts)
    newly_approved: Amounts = field(default_factory=Amounts)
    by_reason: dict[tuple[str, str], Amounts] = field(default_factory=lambda: defaultdict(Amounts))
    days: dict[date, Day] = field(default_factory=lambda: defaultdict(Day))
    examples: list[Compared] = field(default_factory=list)
    without_facts: int = 0
    # Not judged, by why.
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def judged(self) -> int:
        """How many decisions were compared."""
        return self.same.count + self.changed.count

    def add(self, one: Compared) -> None:
        """Count a decision in."""
        day = self.days[one.decided_at.date()]
        day.judged += 1
        self.without_facts += not one.has_facts
        if one.is_same:
            self.same.add(one)
            return
        day.changed += 1
        self.changed.add(one)
        self.by_reason[one.was, one.would_be].add(one)
        if one.was == APPROVED:
            self.newly_declined.add(one)
        elif one.would_be == APPROVED:
            self.newly_approved.add(one)
        if len(self.examples) < self.most_examples:
            self.examples.append(one)

    def add_all(self, many: Iterable[Compared]) -> Comparison:
        """Count all of them in; itself again."""
        for one in many:
            self.add(one)
        return self
