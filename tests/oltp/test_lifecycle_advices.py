"""Advices: what a stand-in has told its caller becomes the truth, and is held once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oltp.network import FACTS, Network, Row, message, request, together


@pytest.fixture(scope="module")
def network(database) -> Network:
    return Network(database)


def advice(key: str, amount: int, card: Any, **fields: Any) -> Row:
    return message(
        "ADVICE", key, amount_minor=amount, card_id=card.card_id, request_hash="a" * 64,
        **(FACTS | fields),
    )  # fmt: skip


def test_an_advice_of_what_nobody_decided_is_the_answer_from_then_on(network):
    card, key = network.card(limit=100), "stood-in"
    (told,) = network.apply(advice(key, 400, card))
    assert told["outcome"] == "HELD"
    (late,) = network.decide(request(card, 400, key))
    assert (late["decision"], late["replayed"], late["conflict"]) == ("APPROVED", True, False)
    assert (late["approved_amount_minor"], late["stand_in"]) == (400, True)
    # Past the limit, by right.
    assert network.balances(card)[1:] == (400, -300)
    assert network.rows("select * from ledger.control_over_limit") == []
    (row,) = network.rows("select * from card.authorizations where idempotency_key = %s", key)
    assert (row["message_kind"], row["is_stand_in"], row["card_version"]) == ("ADVICE", True, 1)
    expires = network.one(
        "select expires_at - now() > interval '6 days' from card.holds where authorization_id = %s",
        row["authorization_id"],
    )
    assert expires


def test_a_stand_ins_refusal_of_what_nobody_decided_is_written_down(network):
    card, key = network.card(), "refused-in-our-name"
    assert network.apply(advice(key, 0, card))[0]["outcome"] == "RECORDED"
    (late,) = network.decide(request(card, 400, key))
    assert (late["decision"], late["response_code"], late["replayed"]) == ("DECLINED", "91", True)
    assert network.balances(card)[1] == 0


def test_a_verification_that_was_refused_in_our_name_stays_refused(network):
    card, key = network.card(), "verified-late"
    network.authorize(card, 0, key, message_kind="VERIFICATION")
    assert network.apply(advice(key, 0, card))[0]["outcome"] == "NO_EFFECT"
    (again,) = network.decide(request(card, 0, key))
    assert (again["decision"], again["response_code"]) == ("DECLINED", "91")


@pytest.mark.parametrize(
    ("told", "outcome", "held"),
    [
        (1_000, "NO_EFFECT", 1_000),
        (0, "RELEASED", 0),
        (300, "LOWERED", 300),
        (1_400, "RAISED", 1_400),
    ],
)
def test_a_hold_becomes_what_the_caller_was_told(network, told, outcome, held):
    card = network.card(limit=1_200)
    key = network.authorize(card, 1_000)
    assert network.apply(advice(key, told, card))[0]["outcome"] == outcome
    assert network.balances(card)[1] == held
    (again,) = network.decide(request(card, 1_000, key))
    assert again["approved_amount_minor"] == told


def test_what_we_declined_and_a_stand_in_approved_is_held_beside_the_decline(network):
    card = network.card()
    key = network.decline(card)
    (told,) = network.apply(advice(key, 250, card))
    assert told["outcome"] == "HELD"
    assert network.balances(card)[1] == 250
    (child,) = network.rows(
        "select c.* from card.authorizations c join card.authorizations p"
        " on p.authorization_id = c.parent_authorization_id where p.idempotency_key = %s",
        key,
    )
    assert (child["message_kind"], child["card_version"]) == ("ADVICE", 2)
    assert network.decide(request(card, 500, key))[0]["decision"] == "APPROVED"
    assert network.tell("CLEARING", key, amount_minor=250)["outcome"] == "CLEARED"
    assert network.balances(card)[:2] == (250, 0)


def test_a_reversal_that_overtakes_the_advice_of_a_decline_leaves_no_hold(network):
    card = network.card()
    key = network.decline(card)
    assert network.tell("REVERSAL", key)["state"] == "PARKED"
    network.apply(advice(key, 250, card))
    assert network.balances(card)[1] == 0
    assert network.standing(key) == "REVERSED"


def test_an_advice_and_the_late_decision_of_its_request_in_any_order_hold_once(network):
    for number in range(6):
        card, key = network.card(), f"race-{number}"
        together(network, [[advice(key, 300, card)], [request(card, 300, key)]])
        assert network.balances(card)[1] == 300


def test_a_second_advice_that_says_otherwise_is_refused(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    network.apply(advice(key, 300, card))
    assert network.apply(advice(key, 300, card))[0]["outcome"] == "NO_EFFECT"
    assert network.apply(advice(key, 400, card))[0]["outcome"] == "ALREADY_ADVISED"
    assert network.balances(card)[1] == 300


def test_what_a_stand_in_approved_counts_under_spend_limits(network):
    card = network.card()
    with network.session() as connection:
        connection.execute(
            "insert into card.spend_limits (card_id, period, currency, amount_limit_minor)"
            " values (%s, 'DAY', 'USD', 1000)",
            (card.card_id,),
        )
    network.authorize(card, 600)
    network.apply(advice(f"counted-{card.card_id}", 300, card))
    (answer,) = network.decide(request(card, 200))
    assert answer["reason_code"] == "AMOUNT_LIMIT_EXCEEDED"
    assert network.decide(request(card, 100))[0]["decision"] == "APPROVED"


def test_after_all_this_the_controls_are_silent(network):
    for control in ("unbalanced_entries", "card_totals", "corrections", "over_limit", "decisions",
                    "holds", "empty_entries"):  # fmt: skip
        assert network.rows(f"select * from ledger.control_{control}") == []
