"""Spend limits: by card, account and program, in periods of the program's day, to the last unit."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from tests.oltp.issuer import DECLINED, Issuer
from tests.oltp.network import Card, Row, message, request


@pytest.fixture
def issuer(database) -> Issuer:
    return Issuer(database)


def subject_of(issuer: Issuer, scope: str, program: str, card: Card):
    return {"card": card.card_id, "account": card.account_id, "program": program}[scope]


def at(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def codes(answers: list[Row]) -> list[str]:
    return [answer["response_code"] for answer in answers]


# --- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["card", "account", "program"])
@pytest.mark.parametrize(
    ("limit", "reason", "code"),
    [
        ({"count": 10}, "COUNT_LIMIT_EXCEEDED", "65"),
        ({"amount": 10_500}, "AMOUNT_LIMIT_EXCEEDED", "61"),
    ],
    ids=["count", "amount"],
)
def test_of_fifty_concurrent_swipes_exactly_the_ten_that_a_limit_allows_are_approved(
    issuer, scope, limit, reason, code
):
    program = issuer.program()
    # Two accounts: only the program's own counter stands between their sessions.
    cards = [issuer.card_of(program) for _ in range(2 if scope == "program" else 1)]
    made = issuer.limit(scope, subject_of(issuer, scope, program, cards[0]), **limit)
    answers = issuer.together([[request(cards[n % len(cards)], 1_000)] for n in range(50)])
    refused = [answer for answer in answers if answer["decision"] == "DECLINED"]
    assert len(refused) == 40
    assert {(r["reason_code"], r["response_code"]) for r in refused} == {(reason, code)}
    assert issuer.counter(made) == (10, 10_000)
    issuer.everything_agrees()


def test_batches_over_two_programs_in_opposite_order_never_deadlock(issuer):
    programs = [issuer.program() for _ in range(2)]
    cards = [issuer.card_of(program) for program in programs for _ in range(5)]
    limits = [issuer.limit("program", program, "MONTH", count=10**6) for program in programs]
    for _ in range(3):
        asked = [[request(card, 1) for card in cards[:: 1 if n % 2 else -1]] for n in range(10)]
        assert set(codes(issuer.together(asked))) == {"00"}
    assert [issuer.counter(limit) for limit in limits] == [(150, 150)] * 2
    issuer.everything_agrees()


def test_a_limit_of_a_program_counts_decisions_that_were_under_way_when_it_was_made(issuer):
    program = issuer.program()
    first, second = issuer.card_of(program), issuer.card_of(program)
    made = []
    with issuer.session() as session:
        session.execute(
            "select * from card.decide_and_hold(%s)", (issuer.batch(request(first, 700)),)
        )
        maker = threading.Thread(
            target=lambda: made.append(issuer.limit("program", program, amount=1_000))
        )
        maker.start()
        maker.join(0.5)
        assert maker.is_alive()
    maker.join(30)
    answers = issuer.decide(request(second, 400), request(second, 300))
    assert codes(answers) == ["61", "00"]
    assert issuer.counter(made[0]) == (2, 1_000)


# --- periods -----------------------------------------------------------------------------------


PERIODS = [
    # A day is the program's, not UTC's.
    ("UTC", "DAY", ["2026-05-04T00:00Z", "2026-05-04T23:59:59Z", "2026-05-05T00:00Z"], "xo"),
    ("Asia/Tokyo", "DAY", ["2026-05-04T14:59Z", "2026-05-04T15:00Z", "2026-05-05T14:59Z"], "ox"),
    # Days of 23 and 25 hours.
    (
        "America/New_York",
        "DAY",
        ["2026-03-08T04:59Z", "2026-03-08T05:00Z", "2026-03-09T03:59Z", "2026-03-09T04:00Z"],
        "oxo",
    ),
    (
        "America/New_York",
        "DAY",
        ["2026-11-01T03:59Z", "2026-11-01T04:00Z", "2026-11-02T04:59Z", "2026-11-02T05:00Z"],
        "oxo",
    ),
    # Clocks are put back over midnight: a day that begins twice, and one without its first hour.
    (
        "America/Havana",
        "DAY",
        ["2026-11-01T03:59Z", "2026-11-01T04:30Z", "2026-11-01T05:30Z", "2026-11-02T04:59Z"],
        "oxx",
    ),
    ("Asia/Beirut", "DAY", ["2026-03-28T21:59Z", "2026-03-28T22:00Z", "2026-03-29T20:59Z"], "ox"),
    # A week begins on Monday, a month on its first day, there.
    (
        "America/New_York",
        "WEEK",
        ["2026-05-04T03:59Z", "2026-05-04T04:00Z", "2026-05-11T03:59Z", "2026-05-11T04:00Z"],
        "oxo",
    ),
    (
        "Europe/Prague",
        "MONTH",
        ["2026-02-28T22:59Z", "2026-02-28T23:00Z", "2026-03-31T21:59Z", "2026-03-31T22:00Z"],
        "oxo",
    ),
    ("Europe/Prague", "LIFETIME", ["2020-01-01T00:00Z", "2026-01-01T00:00Z"], "x"),
]


@pytest.mark.parametrize(("time_zone", "period", "moments", "later"), PERIODS)
@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "one by one"])
def test_a_period_is_one_of_the_programs_time_zone(
    issuer, time_zone, period, moments, later, at_once
):
    """`later`: x is over the limit of one, in the period of an earlier one; o is in a new one."""
    card = issuer.card_of(issuer.program(time_zone))
    issuer.limit("card", card.card_id, period, count=1)
    asked = [request(card, 1, decided_at=at(moment)) for moment in moments]
    answers = issuer.decide(*asked) if at_once else [issuer.decide(one)[0] for one in asked]
    assert codes(answers) == ["00"] + ["65" if mark == "x" else "00" for mark in later]
    issuer.everything_agrees()


@pytest.mark.parametrize(("time_zone", "period", "moments", "later"), PERIODS)
def test_a_limit_that_is_new_in_mid_period_counts_what_was_before_it(
    issuer, time_zone, period, moments, later
):
    card = issuer.card_of(issuer.program(time_zone))
    *before, last = moments
    issuer.decide(*(request(card, 10, decided_at=at(moment)) for moment in before))
    issuer.limit("account", card.account_id, period, count=1)
    (answer,) = issuer.decide(request(card, 1, decided_at=at(last)))
    assert answer["response_code"] == ("65" if later.endswith("x") else "00")


def test_what_counts_before_a_limit_was_there(issuer):
    card, other = issuer.card(), issuer.card()
    key = issuer.authorize(card, 1_000)
    issuer.increment(card, key, 200)
    issuer.decide(request(card, 100_000, partial_allowed=True))  # 98,800 of it
    issuer.decline(card, 7_000)
    issuer.authorize(card, 0, message_kind="VERIFICATION")
    issuer.authorize(other, 5_000)
    made = issuer.limit("card", card.card_id, amount=10**6)
    issuer.decide(request(card, 5))
    assert issuer.counter(made) == (2, 100_000)
    # What is released later has been approved all the same.
    issuer.tell("REVERSAL", key, amount_minor=1_200, currency="USD")
    issuer.decide(request(card, 5))
    assert issuer.counter(made) == (3, 100_005)
    issuer.everything_agrees()


def test_approvals_in_another_currency_do_not_count(issuer):
    program = issuer.program()
    dollars, yen = issuer.card_of(program), issuer.card_of(program, currency="JPY")
    made = issuer.limit("program", program, "LIFETIME", amount=1_000)
    answers = issuer.decide(request(yen, 5_000, currency="JPY"), request(dollars, 1_000))
    assert codes(answers) == ["00", "00"]
    assert issuer.counter(made) == (1, 1_000)


# --- which limits hold -------------------------------------------------------------------------


def test_every_limit_holds_and_only_for_whom_it_is(issuer):
    program = issuer.program()
    card, same_program = issuer.card_of(program), issuer.card_of(program)
    stranger = issuer.card()
    issuer.limit("card", card.card_id, "DAY", amount=300)
    issuer.limit("account", card.account_id, "WEEK", count=2)
    issuer.limit("program", program, "MONTH", amount=500)
    answers = issuer.decide(
        request(card, 301),  # its own
        request(card, 300),
        request(card, 1),  # its own
        request(same_program, 201),  # the program's
        request(same_program, 200),
        request(stranger, 400),
    )
    assert codes(answers) == ["61", "00", "61", "61", "00", "00"]
    issuer.everything_agrees()


def test_a_limit_by_count_and_amount_holds_both_to_the_last_unit(issuer):
    card = issuer.card()
    made = issuer.limit("card", card.card_id, count=3, amount=1_000)
    answers = issuer.decide(*(request(card, n) for n in (600, 401, 400, 1)))
    assert codes(answers) == ["00", "61", "00", "61"]
    assert issuer.counter(made) == (2, 1_000)
    answers = issuer.decide(request(card, 0, message_kind="VERIFICATION"), request(card, 1))
    assert codes(answers) == ["00", "61"]


def test_what_is_declined_for_another_reason_uses_nothing_up(issuer):
    card = issuer.card(limit=1_000)
    made = issuer.limit("card", card.card_id, count=1)
    answers = issuer.decide(request(card, 2_000), request(card, 10, **DECLINED), request(card, 10))
    assert codes(answers) == ["51", "59", "00"]
    assert issuer.counter(made) == (1, 10)


def test_an_increment_adds_to_the_amount_and_is_no_purchase_of_its_own(issuer):
    card = issuer.card()
    made = issuer.limit("card", card.card_id, count=1, amount=1_500)
    key = issuer.authorize(card, 1_000)
    assert issuer.increment(card, key, 501)["response_code"] == "61"
    assert issuer.increment(card, key, 1_500, amount_is_total=True)["response_code"] == "00"
    assert issuer.counter(made) == (1, 1_500)
    issuer.everything_agrees()


def test_a_new_bound_holds_at_once(issuer):
    card = issuer.card()
    made = issuer.limit("card", card.card_id, count=1)
    issuer.authorize(card, 10)
    for bound, code in ((1, "65"), (2, "00"), (0, "65")):
        issuer.do(
            "update card.spend_limits set count_limit = %s where spend_limit_id = %s", bound, made
        )
        assert codes(issuer.decide(request(card, 10))) == [code]


def test_an_inactive_limit_limits_nothing_and_is_right_when_it_is_active_again(issuer):
    card = issuer.card()
    made = issuer.limit("card", card.card_id, count=2)
    switch = "update card.spend_limits set is_active = %s where spend_limit_id = %s"
    issuer.authorize(card, 10)
    issuer.do(switch, False, made)
    assert codes(issuer.decide(*(request(card, 10) for _ in range(3)))) == ["00"] * 3
    issuer.do(switch, True, made)
    assert codes(issuer.decide(request(card, 10))) == ["65"]
    assert issuer.counter(made) == (4, 40)
    issuer.everything_agrees()


@pytest.mark.parametrize(
    "change", ["period = 'MONTH'", "currency = 'EUR'", "card_id = null, program_id = 'standard'"]
)
def test_what_a_limit_counts_never_changes(issuer, change):
    made = issuer.limit("card", issuer.card().card_id, count=2)
    with pytest.raises(psycopg.errors.CheckViolation, match="never change"):
        issuer.do(f"update card.spend_limits set {change} where spend_limit_id = %s", made)


def stand_in(issuer: Issuer, card: Card, amount: int) -> None:
    """Somebody approved for us what we had not seen."""
    told = {"card_id": card.card_id, "amount_minor": amount, "currency": "USD"}
    seen = {"merchant_id": "M-1", "mcc": "5411", "merchant_country": "US", "channel": "CHIP"}
    (applied,) = issuer.apply(message("ADVICE", str(uuid4()), **told, **seen))
    assert applied["state"] == "APPLIED"


@pytest.mark.parametrize("earlier", [600, 0])
def test_what_a_stand_in_approved_counts_once_and_may_be_over(issuer, earlier):
    """Also when it is the first of its period."""
    card = issuer.card()
    made = issuer.limit("card", card.card_id, count=1, amount=400)
    issuer.do("update card.spend_limits set is_active = false where spend_limit_id = %s", made)
    if earlier:
        issuer.authorize(card, earlier)
    issuer.do("update card.spend_limits set is_active = true where spend_limit_id = %s", made)
    stand_in(issuer, card, 500)
    assert issuer.counter(made) == (2 if earlier else 1, 500 + earlier)
    assert codes(issuer.decide(request(card, 1))) == ["65"]
    issuer.everything_agrees()


def test_a_day_that_nobody_counted_is_counted_once_by_many(issuer):
    """The first requests of a period make its counter: all at once, from what is there."""
    program = issuer.program()
    cards = [issuer.card_of(program) for _ in range(10)]
    earlier = datetime.now(UTC) - timedelta(seconds=5)
    issuer.decide(*(request(card, 100, decided_at=earlier.isoformat()) for card in cards))
    made = issuer.limit("program", program, "LIFETIME", amount=1_500)
    answers = issuer.together([[request(card, 100)] for card in cards * 2])
    assert sorted(codes(answers)) == ["00"] * 5 + ["61"] * 15
    assert issuer.counter(made) == (15, 1_500)
    issuer.everything_agrees()


# --- what a decision reads -----------------------------------------------------------------------


def test_a_decision_counts_once_for_a_new_counter_and_reads_its_own_cards_decisions_only(
    issuer, database
):
    """Whatever else there is under the program: else decisions take longer the more there are."""
    program = issuer.program()
    cards = [issuer.card_of(program, 10**6) for _ in range(30)]
    for _ in range(20):
        issuer.decide(*(request(card, 1) for card in cards))
    for card in cards:
        issuer.limit("card", card.card_id, count=10**6)
    counts, read = [], []
    # What a session has not reported yet, of both transactions.
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("analyze card.authorizations, card.card_accounts, card.spend_limits")
        connection.execute("set track_functions = 'pl'")
        for _ in range(2):
            with connection.transaction():
                connection.execute(
                    "select card.decide_and_hold(%s)",
                    (issuer.batch(*(request(card, 1) for card in cards)),),
                )
                counts.append(one(connection, CALLS))
                read.append(one(connection, ROWS_READ))
    assert counts == [len(cards), len(cards)]  # the second time none was added
    assert read[0] < 2 * 21 * len(cards)


CALLS = "select calls from pg_stat_xact_user_functions where funcname = 'count_spend'"
ROWS_READ = """
select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables
where relid = 'card.authorizations'::regclass
"""


def one(connection: psycopg.Connection, query: str):
    row = connection.execute(query).fetchone()
    return row and row[0]
