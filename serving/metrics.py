"""What the gateway counts and measures; served at /metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LATENCY_S = Histogram(
    "millrace_gateway_authorization_seconds",
    "From having the request to having the answer.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2, 5),
)
DECISIONS = Counter(
    "millrace_gateway_decisions_total", "Answers by decision and reason.", ("decision", "reason")
)
STAND_INS = Counter("millrace_gateway_stand_ins_total", "Answers given because none came in time.")
REFUSED = Counter("millrace_gateway_unreachable_total", "Requests that Kafka did not take.")
CONFLICTS = Counter("millrace_gateway_conflicts_total", "Keys used again for another body.")
UNREADABLE = Counter("millrace_gateway_unreadable_total", "Decided messages that are no decisions.")
IN_FLIGHT = Gauge("millrace_gateway_in_flight", "Requests waiting for their decision.")
