"""F30: the worker's clock is an hour off, or is set back while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millrace.stack import Stack
from tests.cards import query
from tests.faults import invariants
from tests.faults.routes import deciding, rerouted
from tests.faults.swipes import Card, Swipes

pytestmark = [
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.usefixtures("unharmed"),
]
SKEWED = Path(__file__).parent / "skewed"
# Holds last as long as the table says, counted from when the database made them.
WRONG_HOLDS = """
select count(*) from card.holds h join card.authorizations a using (authorization_id)
where a.card_id = any(%s::uuid[])
    and h.expires_at - h.created_at - card.hold_period(a.network, a.mcc)
        not between interval '-5 seconds' and interval '5 seconds'
"""
GOES_BACK = """
select count(*) from (
    select decided_at < lag(decided_at) over (partition by card_id order by card_version) as is_back
    from card.authorizations where card_id = any(%s::uuid[])) numbered
where is_back
"""
AGES = """
select count(*) from card.authorizations
where card_id = any(%s::uuid[]) and (facts #>> '{features,card_seconds_since_last}')::bigint < 0
"""
ENDED = """
select count(*) from card.holds h join card.authorizations a using (authorization_id)
where a.card_id = any(%s::uuid[]) and h.status = 'EXPIRED'
"""


@pytest.mark.parametrize("skew_s", [3600, pytest.param(-3600, marks=pytest.mark.long)])
def test_holds_last_by_the_databases_clock_whatever_the_workers_says(
    stack: Stack, cards: list[Card], swipes: Swipes, skew_s: int
) -> None:
    with skewed(stack, str(skew_s)):
        swipes.send(300)
        swipes.flush()
        invariants.drained(stack.env)
    check(stack, cards)


def test_a_clock_that_is_set_back_takes_no_card_back_in_time(
    stack: Stack, cards: list[Card], swipes: Swipes, tmp_path: Path
) -> None:
    clock = tmp_path / "skew"
    clock.write_text("0")
    with skewed(stack, str(clock)):
        swipes.send(300)
        swipes.flush()
        invariants.drained(stack.env)
        clock.write_text("-600")
        swipes.send(300)
        swipes.flush()
        invariants.drained(stack.env)
    check(stack, cards)


@contextmanager
def skewed(stack: Stack, skew: str) -> Iterator[None]:
    """The worker's clock is that many seconds off, or as many as the file says."""
    with rerouted(stack, "worker", SKEW_S=skew, PYTHONPATH=str(SKEWED)):
        deciding(stack)
        yield


def check(stack: Stack, cards: list[Card]) -> None:
    dsn, ids = stack.env["MILLRACE_OLTP_ADMIN_DSN"], [card.card_id for card in cards]
    assert query(dsn, WRONG_HOLDS, ids) == [(0,)]
    assert query(dsn, GOES_BACK, ids) == [(0,)]
    assert query(dsn, AGES, ids) == [(0,)]
    assert query(dsn, ENDED, ids) == [(0,)]
