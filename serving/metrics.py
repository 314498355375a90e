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
STAND_INS = Counter(
    "millrace_gateway_stand_ins_total",
    "Answers given in the decider's place: decision, and what the allowance said.",
    ("decision", "verdict"),
)
UNREACHABLE = Counter("millrace_gateway_unreachable_total", "Requests that Kafka did not take.")
LATE = Counter("millrace_gateway_late_total", "Requests whose decision came too late.")
CONFLICTS = Counter("millrace_gateway_conflicts_total", "Keys used again for another body.")
UNREADABLE = Counter("millrace_gateway_unreadable_total", "Decided messages that are no decisions.")
IN_FLIGHT = Gauge("millrace_gateway_in_flight", "Requests waiting for their decision.")
ADVICES = Counter("millrace_gateway_advices_total", "Stand-in answers that Kafka has been told.")
BACKLOG = Gauge("millrace_gateway_journal_backlog", "Stand-in answers Kafka does not know yet.")
BACKLOG_AGE_S = Gauge("millrace_gateway_journal_oldest_seconds", "Age of the oldest of them.")
CIRCUIT = Gauge("millrace_gateway_circuit_state", "1 for the state it is in.", ("state",))
CARD_MESSAGES = Counter(
    "millrace_gateway_card_messages_total",
    "Card messages by kind and outcome.",
    ("kind", "outcome"),
)
