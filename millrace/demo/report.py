"""What one demo run showed, as plain data: collected from the system, drawn by the screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class LayerRow:
    """One entity on its way: rows in the source at the cut, changes in bronze, rows further on."""

    entity: str
    operational: int
    bronze_changes: int
    silver: int
    deleted: int
    quarantined: int
    warehouse: int


@dataclass(frozen=True)
class Decisions:
    """The live traffic's answers; latency is from the scheduled moment to the answer."""

    via: str
    asked: int
    approved: int
    declined_by_reason: dict[str, int]
    unanswered: int
    latency_ms: tuple[float, ...]

    def percentile_ms(self, share: float) -> float | None:
        """The latency that `share` of the answers did not exceed; None without answers."""
        if not self.latency_ms:
            return None
        ordered = sorted(self.latency_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class TieOutRow:
    """One figure in three places: the operational database at the cut, silver and gold."""

    entity: str
    measure: str
    currency: str
    operational: int
    silver: int
    gold: int

    @property
    def equal(self) -> bool:
        """Exact equality; there is no tolerance."""
        return self.operational == self.silver == self.gold


@dataclass(frozen=True)
class CheckSummary:
    """The quality checks and dbt tests of the last run."""

    passed: int
    failed: int
    blocked_tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoReport:
    """Everything the closing screen says."""

    layers: tuple[LayerRow, ...]
    decisions: tuple[Decisions, ...]
    feature_entity: str
    features: dict[str, int]
    features_as_of: str
    freshness: tuple[tuple[str, datetime | None], ...]
    checks: CheckSummary
    tie_out: tuple[TieOutRow, ...]
    cut_lsn: str
    cut_at: datetime
    addresses: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the demo did not show what it promises; empty when it did."""
        found = [
            f"{row.entity} {row.measure} {row.currency}: operational {row.operational:,}, "
            f"silver {row.silver:,}, gold {row.gold:,}"
            for row in self.tie_out
            if not row.equal
        ]
        if not self.tie_out:
            found.append("no tie-out was made: the pipeline did not reach its end")
        if self.checks.failed:
            found.append(f"{self.checks.failed} checks failed; see the Dagster UI")
        for decisions in self.decisions:
            if not decisions.latency_ms:
                found.append(f"no authorization through the {decisions.via} was answered")
            elif decisions.unanswered:
                found.append(f"{decisions.unanswered} requests via {decisions.via} unanswered")
        return tuple(found)
