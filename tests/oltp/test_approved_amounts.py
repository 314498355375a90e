"""How much is approved: all of it, the part that is there, or what an increment adds to a hold."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.oltp.issuer import Issuer
from tests.oltp.network import request


@pytest.fixture
def issuer(database) -> Issuer:
    return Issuer(database)


# --- partial approvals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "allowed", "limits", "expected"),
    [
        (1_000, True, {}, ("00", "APPROVED", 1_000)),
        (1_001, True, {}, ("10", "PARTIALLY_APPROVED", 1_000)),
        (1_001, False, {}, ("51", "INSUFFICIENT_CREDIT", 0)),
        (900, True, {"amount": 800}, ("10", "PARTIALLY_APPROVED", 800)),
        (1_500, True, {"amount": 800}, ("10", "PARTIALLY_APPROVED", 800)),
        (900, False, {"amount": 800}, ("61", "AMOUNT_LIMIT_EXCEEDED", 0)),
        (900, True, {"amount": 0}, ("61", "AMOUNT_LIMIT_EXCEEDED", 0)),
        (1_500, True, {"count": 0}, ("65", "COUNT_LIMIT_EXCEEDED", 0)),
    ],
)
def test_a_part_is_approved_when_the_terminal_can_take_it(
    issuer, amount, allowed, limits, expected
):
    card = issuer.card(limit=1_000)
    if limits:
        issuer.limit("card", card.card_id, **limits)
    asked = request(card, amount, partial_allowed=allowed)
    (answer,) = issuer.decide(asked)
    code, reason, approved = expected
    assert (answer["response_code"], answer["reason_code"]) == (code, reason)
    assert answer["approved_amount_minor"] == approved
    assert issuer.balances(card) == (0, approved, 1_000 - approved)
    assert issuer.decide(asked)[0]["approved_amount_minor"] == approved
    stored = issuer.stored(asked["idempotency_key"])
    assert stored["amount_minor"] == amount
    assert stored["approved_amount_minor"] == (approved if code == "10" else None)
    issuer.everything_agrees()


def test_nothing_is_approved_in_part_when_nothing_is_available(issuer):
    card = issuer.card(limit=1_000)
    asked = [request(card, 1_000), request(card, 1, partial_allowed=True)]
    assert [answer["response_code"] for answer in issuer.decide(*asked)] == ["00", "51"]


# --- increments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "is_total", "held"), [(300, False, 1_300), (1_300, True, 1_300), (900, True, 1_000)]
)
def test_an_increment_raises_the_hold_by_a_difference_or_to_a_total(issuer, amount, is_total, held):
    card = issuer.card()
    key = issuer.authorize(card, 1_000)
    answer = issuer.increment(card, key, amount, key="i-" + key, amount_is_total=is_total)
    assert (answer["decision"], answer["response_code"]) == ("APPROVED", "00")
    assert answer["approved_amount_minor"] == held - 1_000
    assert issuer.balances(card)[1] == held
    stored, original = issuer.stored("i-" + key), issuer.stored(key)
    assert stored["amount_minor"] == held - 1_000
    assert stored["parent_authorization_id"] == original["authorization_id"]
    (hold,) = issuer.rows("select * from card.holds where account_id = %s", card.account_id)
    assert (hold["amount_minor"], hold["status"]) == (held, "PENDING")
    issuer.everything_agrees()


def test_a_total_is_of_what_is_authorized_now_captured_and_released_amounts_included(issuer):
    card = issuer.card()
    key = issuer.authorize(card, 1_000)
    issuer.tell("REVERSAL", key, amount_minor=300, currency="USD")
    issuer.tell("CLEARING", key, amount_minor=200, currency="USD", is_final=False)
    answer = issuer.increment(card, key, 900, amount_is_total=True)
    assert answer["approved_amount_minor"] == 200
    assert issuer.balances(card)[:2] == (200, 700)
    issuer.everything_agrees()


def test_increments_of_a_batch_see_their_original_and_one_another(issuer):
    card = issuer.card()
    original = request(card, 1_000)
    key = original["idempotency_key"]
    asked = [
        {"amount": 200, "original_key": key, "key": "first-" + key},
        {"amount": 1_500, "original_key": key, "amount_is_total": True},
        # It names the hold by one of its increments.
        {"amount": 100, "original_key": "first-" + key},
    ]
    answers = issuer.decide(
        original, *(request(card, message_kind="INCREMENT", **r) for r in asked)
    )
    assert [answer["approved_amount_minor"] for answer in answers] == [1_000, 200, 300, 100]
    assert issuer.balances(card)[1] == 1_600
    issuer.everything_agrees()


def test_an_increment_beyond_the_credit_is_declined_and_the_hold_stays(issuer):
    card = issuer.card(limit=1_200)
    key = issuer.authorize(card, 1_000)
    answer = issuer.increment(card, key, 300, partial_allowed=True)
    assert (answer["response_code"], answer["approved_amount_minor"]) == ("51", 0)
    assert issuer.balances(card)[1] == 1_000


def test_an_increment_of_nothing_that_holds_money_on_this_card_finds_no_original(issuer):
    card, other = issuer.card(), issuer.card()
    declined = issuer.decline(card)
    verified = issuer.authorize(card, 0, message_kind="VERIFICATION")
    for original in (str(uuid4()), declined, verified, issuer.authorize(other, 1_000), None):
        answer = issuer.increment(card, original, 100)
        assert (answer["reason_code"], answer["response_code"]) == ("ORIGINAL_NOT_FOUND", "12")


@pytest.mark.parametrize("how", ["REVERSAL", "CLEARING", "EXPIRY"])
def test_an_increment_of_a_hold_that_ended_is_declined(issuer, how):
    card = issuer.card()
    key = issuer.authorize(card, 1_000)
    if how == "EXPIRY":
        issuer.expire(key)
    else:
        issuer.tell(how, key, amount_minor=1_000, currency="USD", is_final=True)
    for is_total in (False, True):
        answer = issuer.increment(card, key, 2_000, amount_is_total=is_total)
        assert (answer["reason_code"], answer["response_code"]) == ("ORIGINAL_ENDED", "12")
    issuer.everything_agrees()


def test_concurrent_increments_to_one_total_raise_the_hold_once(issuer):
    card = issuer.card()
    key = issuer.authorize(card, 1_000)
    raised = {"message_kind": "INCREMENT", "original_key": key, "amount_is_total": True}
    answers = issuer.together([[request(card, 1_500, **raised)] for _ in range(10)])
    assert sorted(answer["approved_amount_minor"] for answer in answers) == [0] * 9 + [500]
    assert issuer.balances(card)[1] == 1_500
    issuer.everything_agrees()
