"""Messages about authorizations: once for a key, in any order, at once, and refused in words."""

from __future__ import annotations

import json

import pytest

from tests.oltp.network import FACTS, Network, message, request, together

SOON = "select card.lapse_parked()"
TOMORROW = "select card.lapse_parked(now() + interval '25 hours')"


@pytest.fixture(scope="module")
def network(database) -> Network:
    return Network(database)


def clock(network: Network, call: str) -> int:
    with network.session() as connection:
        return int(next(iter(connection.execute(call).fetchall()[0].values())))


# --- once for a key ------------------------------------------------------------------------------


def test_a_repeated_message_is_answered_from_its_row_and_moves_nothing(network):
    card = network.card()
    sent = message("CLEARING", network.authorize(card, 1_000), amount_minor=600)
    (first,) = network.apply(sent)
    balances = network.balances(card)
    (again,) = network.apply(sent)
    assert again == {**first, "replayed": True}
    assert network.balances(card) == balances


def test_the_same_key_for_something_else_is_a_conflict_without_effect(network):
    card = network.card()
    sent = message("CLEARING", network.authorize(card, 1_000), amount_minor=600)
    network.apply(sent)
    other = {**sent, "message_kind": "REFUND", "amount_minor": 5, "request_hash": "c" * 64}
    (answer,) = network.apply(other)
    assert (answer["conflict"], answer["message_kind"]) == (True, "CLEARING")
    assert network.balances(card)[:2] == (600, 0)


def test_a_key_twice_in_one_batch_is_taken_once(network):
    card = network.card()
    sent = message("CLEARING", network.authorize(card, 1_000), amount_minor=300, is_final=False)
    first, again = network.apply(sent, sent)
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert network.balances(card)[:2] == (300, 700)


def test_a_batch_that_fails_has_done_nothing_and_can_be_sent_again(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    good, bad = message("REVERSAL", key), message("NONSENSE", key)
    with pytest.raises(Exception, match="message_kind"):
        network.apply(good, bad)
    assert network.balances(card)[1] == 1_000
    assert network.apply(good)[0]["outcome"] == "REVERSED"


def test_fifty_of_the_same_message_at_once_move_its_amount_once(network):
    card = network.card()
    sent = message("CLEARING", network.authorize(card, 1_000), amount_minor=400, is_final=False)
    answers = together(network, [[sent] for _ in range(12)])
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 11
    assert network.balances(card)[:2] == (400, 600)


def test_the_same_messages_about_nobodys_account_never_deadlock(network):
    sent = [message("REVERSAL", f"never-{number}") for number in range(10)]
    batches = [sent[number:] + sent[:number] for number in range(8)]
    answers = together(network, batches)
    assert {answer["state"] for answer in answers} == {"PARKED"}
    assert sum(not answer["replayed"] for answer in answers) == len(sent)


def test_a_key_raced_under_two_accounts_is_taken_by_one(network):
    for _ in range(5):
        cards = [network.card(), network.card()]
        sent = message("FORCE_POST", amount_minor=100)
        answers = together(
            network,
            [
                [{**sent, "card_id": str(card.card_id), "request_hash": body * 64}]
                for card, body in zip(cards, "de", strict=True)
            ],
        )
        assert sorted(answer["conflict"] for answer in answers) == [False, True]
        assert sorted(network.balances(card)[0] for card in cards) == [0, 100]


def test_shuffled_batches_over_the_same_accounts_never_deadlock(network):
    cards = [network.card() for _ in range(6)]
    keys = [network.authorize(card, 1_000) for card in cards]
    batches = [
        [
            message("CLEARING", key, amount_minor=10, is_final=False)
            for key in keys[number:] + keys[:number]
        ]
        + [message("ADVICE", f"s-{number}-{n}", amount_minor=1, card_id=c.card_id, **FACTS)
           for n, c in enumerate(reversed(cards))]
        for number in range(6)
    ]  # fmt: skip
    answers = together(network, batches)
    assert {answer["state"] for answer in answers} == {"APPLIED"}
    assert {network.balances(card)[:2] for card in cards} == {(60, 946)}


# --- too early -----------------------------------------------------------------------------------


def test_a_reversal_before_its_authorization_waits_for_it_and_then_holds_nothing(network):
    card, key = network.card(), "early-1"
    assert network.tell("REVERSAL", key, card_id=card.card_id)["state"] == "PARKED"
    network.authorize(card, 700, key)
    assert network.balances(card)[1] == 0
    assert network.standing(key) == "REVERSED"
    (row,) = network.rows(
        "select state, outcome, applied_minor, account_id from card.card_messages"
        " where original_key = %s",
        key,
    )
    assert row == {"state": "APPLIED", "outcome": "REVERSED", "applied_minor": 700,
                   "account_id": card.account_id}  # fmt: skip


def test_what_nothing_comes_for_is_given_up_after_its_time_and_listed(network):
    sent = message("REVERSAL", "nobody")
    network.apply(sent)
    assert clock(network, SOON) == 0
    assert clock(network, TOMORROW) >= 1
    (answer,) = network.apply(sent)
    assert (answer["state"], answer["outcome"]) == ("LAPSED", "NEVER_AUTHORIZED")
    assert "nobody" in {
        row["original_key"]
        for row in network.rows("select * from card.card_messages where state = 'LAPSED'")
    }


def test_a_message_and_its_authorization_that_pass_each_other_meet_at_the_next_tick(network):
    """Neither transaction sees the other when the message names no account."""
    card, key = network.card(), "passing"
    with network.session() as deciding:
        deciding.execute(
            "select * from card.decide_and_hold(%s)", (json.dumps([request(card, 300, key)]),)
        )
        assert network.tell("REVERSAL", key)["state"] == "PARKED"
    assert network.balances(card)[1] == 300
    clock(network, SOON)
    assert network.balances(card)[1] == 0


def test_a_presentment_before_its_authorization_is_paid_once_and_leaves_no_hold(network):
    card, key = network.card(), "presented-first"
    told = network.tell("CLEARING", key, amount_minor=300, card_id=card.card_id)
    assert told["outcome"] == "FORCE_POSTED"
    network.authorize(card, 300, key)
    assert network.balances(card)[:2] == (300, 0)
    assert network.tell("REFUND", key, amount_minor=301)["outcome"] == "EXCEEDS_CLEARED"
    assert network.tell("REFUND", key, amount_minor=300)["outcome"] == "REFUNDED"


def test_the_first_part_presented_before_leaves_the_rest_held(network):
    card, key = network.card(), "part-first"
    network.tell("CLEARING", key, amount_minor=100, is_final=False, card_id=card.card_id)
    network.authorize(card, 300, key)
    assert network.balances(card)[:2] == (100, 200)


# --- increments ----------------------------------------------------------------------------------


def test_a_reversed_increment_takes_back_what_it_raised(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    network.increment(card, key, 300, idempotency_key=f"more-{key}")
    assert network.balances(card)[1] == 1_300
    assert network.tell("REVERSAL", f"more-{key}")["applied_minor"] == 300
    assert network.balances(card)[1] == 1_000


def test_what_shall_remain_counts_what_was_captured(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    network.tell("CLEARING", key, amount_minor=400, is_final=False)
    network.tell("REVERSAL", key, amount_minor=700, amount_is_total=True)
    assert network.balances(card)[:2] == (400, 300)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "outcome"),
    [
        ("CLEARING", {"amount_minor": 0}, "INVALID_AMOUNT"),
        ("CLEARING", {"amount_minor": -5}, "INVALID_AMOUNT"),
        ("REVERSAL", {"amount_minor": -5}, "INVALID_AMOUNT"),
        ("REFUND", {"amount_minor": None}, "INVALID_AMOUNT"),
        ("ADVICE", {"amount_minor": None}, "INVALID_AMOUNT"),
        ("CLEARING", {"amount_minor": 5, "currency": "EUR"}, "WRONG_CURRENCY"),
        ("REVERSAL", {"card_id": "00000000-0000-0000-0000-000000000001"}, "WRONG_CARD"),
        ("CHARGEBACK", {"reason": None}, "EXCEEDS_CLEARED"),
    ],
)
def test_what_no_state_can_take_is_refused_in_words_and_kept(network, kind, fields, outcome):
    card = network.card()
    key = network.authorize(card, 1_000)
    answer = network.tell(kind, key, **fields)
    assert (answer["state"], answer["outcome"]) == ("REFUSED", outcome)
    assert network.balances(card)[:2] == (0, 1_000)
    assert network.standing(key) == "PENDING"


def test_money_for_nobody_is_refused(network):
    for kind in ("CLEARING", "FORCE_POST", "REFUND"):
        assert network.tell(kind, "who", amount_minor=5)["outcome"] == "ACCOUNT_NOT_FOUND"
    for kind in ("REVERSAL", "ADVICE", "CHARGEBACK", "DISPUTE_WON"):
        assert network.tell(kind, None, amount_minor=5)["outcome"] == "ORIGINAL_NOT_FOUND"


def test_a_chargeback_says_why(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    network.tell("CLEARING", key, amount_minor=1_000)
    assert network.tell("CHARGEBACK", key)["outcome"] == "INVALID_REASON"
    assert network.tell("CHARGEBACK", key, reason="BOREDOM")["outcome"] == "INVALID_REASON"


def test_one_presentment_under_two_keys_is_one_by_the_networks_reference(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    first = network.tell("CLEARING", key, amount_minor=400, is_final=False, network_ref="N-1")
    again = network.tell("CLEARING", key, amount_minor=400, is_final=False, network_ref="N-1")
    assert (first["outcome"], again["outcome"]) == ("CLEARED", "DUPLICATE_REFERENCE")
    assert network.balances(card)[:2] == (400, 600)


def test_after_all_this_the_controls_are_silent(network):
    for control in ("unbalanced_entries", "card_totals", "corrections", "over_limit", "decisions",
                    "holds", "empty_entries"):  # fmt: skip
        assert network.rows(f"select * from ledger.control_{control}") == []
