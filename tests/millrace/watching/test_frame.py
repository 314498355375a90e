"""Two readings become one frame: counts are differences, percentiles those of the time between."""

from collections import Counter

import pytest

from millrace.watching.frame import between, quantile
from millrace.watching.reading import Agent, Reading, parse

EARLIER = """
# TYPE millrace_decisions counter
millrace_decisions_total{reason="APPROVED",replayed="false"} 10
millrace_decisions_total{reason="APPROVED",replayed="true"} 2
millrace_decisions_total{reason="CARD_LOST",replayed="false"} 5
# TYPE millrace_gateway_decisions counter
millrace_gateway_decisions_total{decision="APPROVED",reason="APPROVED"} 10
# TYPE millrace_gateway_stand_ins counter
millrace_gateway_stand_ins_total{decision="DECLINED",verdict="SPENT"} 1
# TYPE millrace_stream_batch_seconds histogram
millrace_stream_batch_seconds_bucket{agent="authorization",le="0.01"} 4
millrace_stream_batch_seconds_bucket{agent="authorization",le="0.1"} 4
millrace_stream_batch_seconds_bucket{agent="authorization",le="+Inf"} 4
millrace_stream_batch_seconds_count{agent="authorization"} 4
millrace_stream_batch_seconds_sum{agent="authorization"} 0.02
"""
LATER = """
# TYPE millrace_decisions counter
millrace_decisions_total{reason="APPROVED",replayed="false"} 16
millrace_decisions_total{reason="PARTIALLY_APPROVED",replayed="false"} 1
millrace_decisions_total{reason="APPROVED",replayed="true"} 4
millrace_decisions_total{reason="CARD_LOST",replayed="false"} 5
millrace_decisions_total{reason="INSUFFICIENT_CREDIT",replayed="false"} 3
# TYPE millrace_gateway_decisions counter
millrace_gateway_decisions_total{decision="APPROVED",reason="APPROVED"} 18
# TYPE millrace_gateway_stand_ins counter
millrace_gateway_stand_ins_total{decision="DECLINED",verdict="SPENT"} 2
millrace_gateway_stand_ins_total{decision="APPROVED",verdict="GRANTED"} 1
# TYPE millrace_stream_batch_seconds histogram
millrace_stream_batch_seconds_bucket{agent="authorization",le="0.01"} 4
millrace_stream_batch_seconds_bucket{agent="authorization",le="0.1"} 104
millrace_stream_batch_seconds_bucket{agent="authorization",le="+Inf"} 104
millrace_stream_batch_seconds_bucket{agent="cache",le="0.01"} 50
millrace_stream_batch_seconds_bucket{agent="cache",le="+Inf"} 50
millrace_stream_batch_seconds_count{agent="authorization"} 104
millrace_stream_batch_seconds_sum{agent="authorization"} 0.02
# TYPE millrace_stream_messages counter
millrace_stream_messages_total{agent="authorization",outcome="handled"} 12
millrace_stream_messages_total{agent="authorization",outcome="dead_letter"} 2
# TYPE millrace_histories counter
millrace_histories_total{source="memory"} 4
# TYPE millrace_gateway_circuit_state gauge
millrace_gateway_circuit_state{state="closed"} 0
millrace_gateway_circuit_state{state="open"} 1
# TYPE millrace_breaker_state gauge
millrace_breaker_state{breaker="redis"} 1
# TYPE millrace_gateway_journal_backlog gauge
millrace_gateway_journal_backlog 3
# TYPE millrace_gateway_journal_oldest_seconds gauge
millrace_gateway_journal_oldest_seconds 7.4
"""


def reading(at_s: float, text: str, **more: object) -> Reading:
    return Reading(at_s, parse(text), **more)  # type: ignore[arg-type]


def test_counts_are_what_happened_between_the_readings() -> None:
    frame = between(reading(100, EARLIER), reading(102, LATER))
    assert (frame.decided, frame.replayed, frame.rate) == (10, 2, 6.0)
    assert (frame.approved, frame.approval_rate) == (7, 0.7)
    assert frame.declined == Counter(INSUFFICIENT_CREDIT=3)
    assert (frame.answered, frame.stood_in, frame.stand_in_share) == (8, 2, 0.25)
    assert frame.events == {"dead letter (authorization)": 2, "histories from memory": 4}


def test_percentiles_are_of_the_observations_between_and_of_the_agent_that_is_meant() -> None:
    frame = between(reading(100, EARLIER), reading(102, LATER))
    # A hundred observations lie evenly between 10 and 100 ms.
    assert frame.latency_ms["authorizer batch"] == pytest.approx((55.0, 95.5, 99.1))
    assert frame.latency_ms["gateway answer"] == (None, None, None)


def test_breakers_and_the_journal_are_told_in_words() -> None:
    frame = between(reading(100, EARLIER), reading(102, LATER))
    assert frame.standing == {
        "circuit of the gateway": "open",
        "breaker of redis": "half-open",
        "stand-in answers not told yet": "3, the oldest 7 s ago",
    }


def test_a_counter_that_went_down_belongs_to_a_process_that_started_anew() -> None:
    restarted = 'millrace_decisions_total{reason="APPROVED",replayed="false"} 3\n'
    frame = between(reading(0, EARLIER), reading(1, restarted))
    assert (frame.decided, frame.approved) == (3, 3)


def test_shares_of_nothing_are_none() -> None:
    frame = between(reading(0, EARLIER), reading(1, EARLIER))
    assert (frame.decided, frame.approval_rate, frame.stand_in_share) == (0, None, None)


def test_what_stands_now_is_that_of_the_later_reading() -> None:
    agents = {"authorization": Agent(7, "ConnectionError: no")}
    later = reading(1, LATER, agents=agents, holds={"CZK": (2, 300)}, silent={"gateway": "gone"})
    frame = between(reading(0, EARLIER), later)
    assert (frame.agents, frame.holds) == (agents, {"CZK": (2, 300)})
    assert frame.silent == {"gateway": "gone"}


@pytest.mark.parametrize(
    ("share", "value"), [(0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (0.95, 3.0), (0.99, 3.0)]
)
def test_a_quantile_is_interpolated_in_its_bucket_and_never_beyond_the_last_bound(
    share: float, value: float
) -> None:
    buckets = [(1.0, 50.0), (3.0, 100.0), (float("inf"), 100.0)]
    if share > 0.9:
        buckets = [(1.0, 50.0), (3.0, 90.0), (float("inf"), 100.0)]
    assert quantile(buckets, share) == pytest.approx(value)


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(1.0, 0.0), (float("inf"), 0.0)], 0.5) is None
