"""What one demo run showed, as plain data: collected from the system, drawn by the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from oltp.simulator import Answers
from orchestration.tie_out import Figure


@dataclass(frozen=True)
class LayerRow:
    """What this run moved of one entity; how many rows there are is the tie-out's to say."""

    entity: str
    bronze_changes: int
    quarantined: int


@dataclass(frozen=True)
class CheckSummary:
    """The quality checks and dbt tests of the run."""

    passed: int
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """Something that the operational database proves of itself, and what was found against it."""

    what: str
    looked_at: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoReport:
    """Everything the closing screen says."""

    sources: tuple[str, ...]
    layers: tuple[LayerRow, ...]
    answers: tuple[Answers, ...]
    changes: Mapping[str, int]
    feature_entity: str
    features: Mapping[str, int]
    features_note: str
    freshness: tuple[tuple[str, datetime | None], ...]
    checks: CheckSummary
    tie_out: tuple[Figure, ...]
    cut_lsn: str
    cut_at: datetime | None
    addresses: tuple[tuple[str, str], ...]
    proofs: tuple[Proof, ...] = ()
    errors: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the demo did not show what it promises; empty when it did."""
        found = list(self.errors)
        found += [f"tie-out differs: {figure}" for figure in self.tie_out if not figure.is_exact]
        if not self.tie_out:
            found.append("no tie-out was made: the pipeline did not reach its end")
        found += [f"check failed: {check}" for check in self.checks.failed]
        found += [f"{proof.what}: {finding}" for proof in self.proofs for finding in proof.findings]
        for answers in self.answers:
            if not answers.latency_ms:
                found.append(f"no authorization through {answers.via} was answered")
            elif answers.unanswered:
                found.append(f"{answers.unanswered} requests through {answers.via} unanswered")
        return tuple(found)
