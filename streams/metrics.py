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
LAG = Gauge("millrace_stream_lag", "Records waiting in Kafka.", ("agent",))
DECISIONS = Counter(
    "millrace_decisions_total", "Decisions by reason, replays apart.", ("reason", "replayed")
)
FACTS = Counter(
    "millrace_facts_total", "Cards whose facts came from a copy or from the record.", ("source",)
)
CHANGES = Counter(
    "millrace_cache_changes_total", "Changes applied to Redis, or refused as older.", ("outcome",)
)
