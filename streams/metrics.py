"""What the worker counts and measures; served at its /metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

FAST_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

MESSAGES = Counter(
    "millrace_stream_messages_total",
    "Records by what became of them: handled, passed_over or dead_letter.",
    ("agent", "outcome"),
)
RETRIES = Counter(
    "millrace_stream_retries_total",
    "Times an agent waited because something it needs was down.",
    ("agent", "error"),
)
BATCH_SECONDS = Histogram(
    "millrace_stream_batch_seconds",
    "From having a batch to having done all its effects.",
    ("agent",),
    buckets=FAST_S,
)
BATCH_SIZE = Histogram(
    "millrace_stream_batch_records",
    "Records of a batch: as many as were there, up to the most.",
    ("agent",),
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 300),
)
LAG = Gauge("millrace_stream_lag", "Records waiting in Kafka.", ("agent",))
DECISIONS = Counter(
    "millrace_decisions_total", "Decisions by reason, replays apart.", ("reason", "replayed")
)
DECISION_SECONDS = Histogram(
    "millrace_decision_seconds",
    "From a request's arrival at the gateway to its answer on the topic.",
    buckets=FAST_S,
)
APPLIED = Counter(
    "millrace_card_messages_total",
    "Reversals and advices by what they came to, repetitions apart.",
    ("kind", "outcome", "replayed"),
)
STALE = Counter(
    "millrace_stale_judgements_total",
    "Requests judged again, because their card had been decided on meanwhile.",
)
SHADOW_DIFFERENCES = Counter(
    "millrace_shadow_differences_total",
    "Verdicts of rules in shadow that differ from what was decided by.",
    ("version",),
)
FACTS = Counter(
    "millrace_facts_total", "Cards whose facts came from a copy or from the record.", ("source",)
)
HISTORIES = Counter(
    "millrace_histories_total",
    "Cards whose history came from memory, redis or postgres.",
    ("source",),
)
BREAKER = Gauge(
    "millrace_breaker_state", "0 closed, 1 half-open, 2 open: then it is not asked.", ("breaker",)
)
CHANGES = Counter(
    "millrace_cache_changes_total", "Changes applied to Redis, or refused as older.", ("outcome",)
)
CLOCK = Counter(
    "millrace_clock_total",
    "What time ended or made: expired_holds, lapsed_messages, made_partitions.",
    ("task",),
)
CLOCK_FAILURES = Counter(
    "millrace_clock_failures_total", "Tries of a task that failed; it is tried again.", ("task",)
)
