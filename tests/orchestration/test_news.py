"""When there is a reason to run."""

from pathlib import Path

from orchestration import news
from pipelines import decisions
from pipelines.decisions import Decision, Place, Row
from schemas import topics

SEEN = {"oltp.credit.payments:0": 10, "oltp.credit.payments:1": 5}


def test_offsets_beyond_the_last_run_are_news() -> None:
    ends = {"oltp.credit.payments:0": 12, "oltp.credit.payments:1": 6}
    assert news.newer(ends, SEEN) == {"oltp.credit.payments": 3}


def test_the_same_offsets_are_no_news() -> None:
    assert news.newer(dict(SEEN), SEEN) == {}


def test_a_topic_nobody_has_read_is_news_when_it_has_messages() -> None:
    assert news.newer({"oltp.card.cards:0": 2, "oltp.card.holds:0": 0}, SEEN) == {
        "oltp.card.cards": 2
    }


def test_a_topic_that_was_made_again_is_no_news_until_it_grows_past_the_old_end() -> None:
    assert news.newer({"oltp.credit.payments:0": 3}, SEEN) == {}


def test_heartbeats_signals_and_dead_letters_are_never_asked_about() -> None:
    silent = {topics.HEARTBEAT, topics.HEARTBEAT_TABLE, topics.SIGNAL_TABLE, topics.OUTBOX_TABLE}
    assert not silent & set(topics.captured())
    assert not [name for name in topics.captured() if name.endswith(".dlq")]


def test_what_was_released_from_quarantine_is_news_until_a_run_has_taken_it(tmp_path: Path) -> None:
    def decided(state: str, by: str) -> None:
        row = Row("one", Place("oltp.credit.payments", 0, 7))
        after = decisions.last(tmp_path, "payments")
        decisions.decide(tmp_path, "payments", Decision(state, (row,), by, "why"), after)

    assert news.released(tmp_path) == {}
    decided("fixed", "ada")
    assert news.released(tmp_path) == {}
    decided("released", "ada")
    ends = news.released(tmp_path)
    assert news.newer(ends, SEEN) == {"quarantine.payments": 2}
    decided("applied", "build")
    assert news.newer(news.released(tmp_path), SEEN | ends) == {}


def test_offsets_survive_being_a_tag() -> None:
    assert news.from_tag(news.to_tag(SEEN)) == SEEN
    assert news.from_tag(None) == {}


def test_a_first_failure_is_retried_at_once_and_later_ones_with_growing_pauses() -> None:
    assert news.retry_due(0, 0)
    assert not news.retry_due(2, 5)
    assert news.retry_due(2, 11)
    assert news.retry_due(50, 301)
