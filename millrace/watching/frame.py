"""Two readings become one frame: what happened between them, and what stands now. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from millrace.watching.reading import Agent, Labels, Reading, Samples
from schemas.codes import Reason

APPROVALS = frozenset({Reason.APPROVED, Reason.PARTIALLY_APPROVED, Reason.STAND_IN_APPROVED})
SHARES = (0.50, 0.95, 0.99)
# What is timed -> the histogram that times it and the labels to look at.
TIMED: dict[str, tuple[str, Labels]] = {
    "gateway answer": ("millrace_gateway_authorization_seconds", ()),
    "request to decision": ("millrace_decision_seconds", ()),
    "authorizer batch": ("millrace_stream_batch_seconds", (("agent", "authorization"),)),
}
DECIDED = "millrace_decisions_total"
ANSWERED = "millrace_gateway_decisions_total"
STOOD_IN = "millrace_gateway_stand_ins_total"
IN_FLIGHT = "millrace_gateway_in_flight"
MESSAGES = "millrace_stream_messages_total"
RETRIES = "millrace_stream_retries_total"
# Counters that are shown where they moved: name -> words, with the label that tells them apart.
COUNTED = {
    "millrace_stale_judgements_total": ("judged again: the card had gone on", None),
    "millrace_shadow_differences_total": ("shadow differs", "version"),
    "millrace_histories_total": ("histories from", "source"),
    "millrace_clock_total": ("by the clock", "task"),
    "millrace_clock_failures_total": ("the clock failed at", "task"),
    "millrace_gateway_late_total": ("decided too late for the gateway", None),
    "millrace_gateway_unreachable_total": ("not taken by Kafka", None),
    "millrace_gateway_advices_total": ("stand-in answers told to the decider", None),
    "millrace_gateway_conflicts_total": ("keys used again for another body", None),
    "millrace_gateway_unreadable_total": ("unreadable decisions", None),
    "millrace_gateway_card_messages_total": ("card message", "outcome"),
}
BREAKER, CIRCUIT = "millrace_breaker_state", "millrace_gateway_circuit_state"
BREAKER_STATES = ("closed", "half-open", "open")
BACKLOG, BACKLOG_AGE = "millrace_gateway_journal_backlog", "millrace_gateway_journal_oldest_seconds"
COPIES = "millrace_stand_in_copies_complete"


@dataclass(frozen=True)
class Frame:
    """What the view shows. A share or a percentile of nothing is none."""

    seconds: float
    # By the authorizer: new decisions, and answers repeated for keys it had decided.
    decided: int
    replayed: int
    approved: int
    declined: Counter[str]
    # By the gateway.
    answered: int
    stood_in: int
    in_flight: int
    # Milliseconds at each of SHARES.
    latency_ms: Mapping[str, tuple[float | None, ...]]
    agents: Mapping[str, Agent]
    # What else happened: name -> count, only where something did.
    events: Mapping[str, int]
    # How things stand: name -> in words.
    standing: Mapping[str, str]
    holds: Mapping[str, tuple[int, int]]
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Decisions a second, repeated ones included."""
        return (self.decided + self.replayed) / self.seconds

    @property
    def approval_rate(self) -> float | None:
        """Of the new decisions."""
        return self.approved / self.decided if self.decided else None

    @property
    def stand_in_share(self) -> float | None:
        """Of the gateway's answers."""
        return self.stood_in / self.answered if self.answered else None


def between(earlier: Reading, later: Reading) -> Frame:
    """The frame of the time between two readings."""
    change = _changes(earlier.samples, later.samples)
    decided = Counter[str]()
    replayed = 0
    for labels, count in change(DECIDED):
        if labels.get("replayed") == "true":
            replayed += count
        else:
            decided[labels.get("reason", "")] += count
    return Frame(
        seconds=max(later.at_s - earlier.at_s, 1e-9),
        decided=decided.total(),
        replayed=replayed,
        approved=sum(n for reason, n in decided.items() if reason in APPROVALS),
        declined=Counter({r: n for r, n in decided.items() if r not in APPROVALS and n}),
        answered=sum(count for _, count in change(ANSWERED)),
        stood_in=sum(count for _, count in change(STOOD_IN)),
        in_flight=int(sum(later.samples.get(IN_FLIGHT, {}).values())),
        latency_ms={
            what: _percentiles(earlier.samples, later.samples, name, labels)
            for what, (name, labels) in TIMED.items()
        },
        agents=later.agents,
        events=dict(_events(change)),
        standing=dict(_standing(later.samples)),
        holds=later.holds,
        silent=later.silent,
    )


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """The value below which `share` of the observations lies, as Prometheus estimates it.

    `buckets` are (upper bound, observations up to it), ascending. Inside a bucket observations
    are taken to lie evenly; beyond the last finite bound nothing is known but the bound.
    """
    total = buckets[-1][1] if buckets else 0
    if not total:
        return None
    rank = share * total
    below_bound, below_count = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below_count:
            if math.isinf(bound):
                return below_bound
            inside = (rank - below_count) / (count - below_count)
            return below_bound + (bound - below_bound) * inside
        below_bound, below_count = bound, count
    return below_bound


Change = Callable[[str], Iterator[tuple[dict[str, str], int]]]


def _changes(earlier: Samples, later: Samples) -> Change:
    """For a counter: each set of labels, and how far it has gone on."""

    def of(name: str) -> Iterator[tuple[dict[str, str], int]]:
        before = earlier.get(name, {})
        for labels, value in later.get(name, {}).items():
            yield dict(labels), round(_gone_on(before.get(labels, 0.0), value))

    return of


def _gone_on(before: float, after: float) -> float:
    """A counter that is lower than it was belongs to a process that started anew."""
    return after - before if after >= before else after


def _percentiles(
    earlier: Samples, later: Samples, name: str, wanted: Labels
) -> tuple[float | None, ...]:
    before = earlier.get(f"{name}_bucket", {})
    counts: defaultdict[float, float] = defaultdict(float)
    for labels, value in later.get(f"{name}_bucket", {}).items():
        if set(wanted) <= set(labels):
            counts[float(dict(labels)["le"])] += _gone_on(before.get(labels, 0.0), value)
    buckets = sorted(counts.items())
    found = (quantile(buckets, share) for share in SHARES)
    return tuple(None if seconds is None else seconds * 1000 for seconds in found)


def _events(change: Change) -> Iterator[tuple[str, int]]:
    totals: Counter[str] = Counter()
    for labels, count in change(MESSAGES):
        if labels.get("outcome") in ("passed_over", "dead_letter"):
            totals[f"{labels['outcome'].replace('_', ' ')} ({labels.get('agent')})"] += count
    for labels, count in change(RETRIES):
        totals[f"retried for {labels.get('error')} ({labels.get('agent')})"] += count
    for name, (words, label) in COUNTED.items():
        for labels, count in change(name):
            totals[f"{words} {labels.get(label)}" if label else words] += count
    yield from ((words, count) for words, count in totals.items() if count)


def _standing(samples: Samples) -> Iterator[tuple[str, str]]:
    for labels, state in samples.get(CIRCUIT, {}).items():
        if state:
            yield "circuit of the gateway", dict(labels)["state"]
    for labels, state in samples.get(BREAKER, {}).items():
        yield f"breaker of {dict(labels)['breaker']}", BREAKER_STATES[int(state)]
    for complete in samples.get(COPIES, {}).values():
        yield "copies for stand-in", "complete" if complete else "being rebuilt"
    backlog = sum(samples.get(BACKLOG, {}).values())
    if backlog:
        age_s = max(samples.get(BACKLOG_AGE, {}).values(), default=0.0)
        yield "stand-in answers not told yet", f"{backlog:,.0f}, the oldest {age_s:,.0f} s ago"
