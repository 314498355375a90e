"""Decisions that something was said of elsewhere: a reversal came first, a stand-in answered."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.oltp.issuer import DECLINED, Issuer
from tests.oltp.network import Card, message, request


@pytest.fixture
def issuer(database) -> Issuer:
    return Issuer(database)


def test_a_reversal_that_came_first_is_applied_to_the_decision_it_waited_for(issuer):
    card = issuer.card()
    asked = request(card, 1_000)
    early = message(
        "REVERSAL", asked["idempotency_key"], card_id=card.card_id, amount_minor=1_000,
        currency="USD",
    )  # fmt: skip
    assert issuer.apply(early)[0]["state"] == "PARKED"
    assert issuer.decide(asked)[0]["decision"] == "APPROVED"
    assert issuer.balances(card) == (0, 0, 100_000)
    assert issuer.apply(early)[0]["state"] == "APPLIED"
    issuer.everything_agrees()


def advise(issuer: Issuer, card: Card, key: str, amount: int) -> None:
    """The caller was told by a stand-in that `amount` is approved."""
    said = message(
        "ADVICE", key, message_key=f"advice:{key}", card_id=card.card_id, amount_minor=amount,
        currency="USD", merchant_id="M-1", mcc="5411", merchant_country="US", channel="CHIP",
        network="VISA",
    )  # fmt: skip
    (answer,) = issuer.apply(said)
    assert answer["state"] == "APPLIED", answer


@pytest.mark.parametrize("decided", ["APPROVED", "DECLINED", None])
@pytest.mark.parametrize("told", [0, 700, 1_000])
def test_who_asks_again_is_told_what_a_stand_in_told(issuer, decided, told):
    card = issuer.card()
    asked = request(card, 1_000, **(DECLINED if decided == "DECLINED" else {}))
    key = asked["idempotency_key"]
    if decided:
        assert issuer.decide(asked)[0]["decision"] == decided
    advise(issuer, card, key, told)
    (answer,) = issuer.decide(asked)
    approved = told > 0
    assert (answer["replayed"], answer["stand_in"], answer["conflict"]) == (True, True, False)
    assert answer["decision"] == ("APPROVED" if approved else "DECLINED")
    assert answer["response_code"] == ("00" if approved else "91")
    assert answer["reason_code"] == ("STAND_IN_APPROVED" if approved else "STAND_IN_DECLINED")
    assert answer["approved_amount_minor"] == told
    assert issuer.balances(card)[1] == told
    issuer.everything_agrees()


def test_a_key_that_a_stand_in_answered_for_another_card_is_a_conflict(issuer):
    card, other = issuer.card(), issuer.card()
    key = str(uuid4())
    advise(issuer, card, key, 500)
    assert issuer.decide(request(other, 500, key))[0]["conflict"]
    assert issuer.balances(other) == (0, 0, 100_000)


def test_a_stand_ins_approval_can_be_raised(issuer):
    card = issuer.card()
    key = issuer.decline(card)
    advise(issuer, card, key, 500)
    assert issuer.increment(card, key, 200)["decision"] == "APPROVED"
    assert issuer.balances(card)[1] == 700
    issuer.everything_agrees()
