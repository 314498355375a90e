"""What messages leave beside the ledger: presentments, disputes, events; and how long is held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.oltp.network import Network, message


@pytest.fixture(scope="module")
def network(database) -> Network:
    return Network(database)


def disputes_balance(network: Network) -> int:
    """What the house has advanced to holders and not been paid for."""
    return int(
        network.one(
            "select posted_minor from ledger.house_balances"
            " where (kind, currency) = ('DISPUTES', 'USD')"
        )
    )


def test_presentments_disputes_and_events_are_written_with_their_entries(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    network.tell("CLEARING", key, amount_minor=700, is_final=False, sequence_number=1)
    network.tell("CLEARING", key, amount_minor=500, sequence_number=2, network_ref="N-2")
    network.tell("REFUND", key, amount_minor=200)
    charged = message("CHARGEBACK", key, reason="NOT_RECEIVED", amount_minor=900)
    network.apply(charged)
    network.tell("REPRESENTMENT", charged["message_key"])
    network.tell("DISPUTE_LOST", charged["message_key"])
    clearings = network.rows(
        "select c.kind, c.amount_minor, c.sequence_number, c.merchant_id, e.entry_type"
        " from card.clearings c join ledger.entries e using (entry_id)"
        " where c.account_id = %s order by c.created_at, c.sequence_number",
        card.account_id,
    )
    assert [tuple(row.values()) for row in clearings] == [
        ("CLEARING", 700, 1, "M-1", "CAPTURE"),
        ("OVER_CAPTURE", 500, 2, "M-1", "CAPTURE"),
        ("REFUND", 200, 1, "M-1", "REFUND"),
    ]
    (dispute,) = network.rows(
        "select d.status, d.reason, d.amount_minor, p.entry_type as credit, r.entry_type as end"
        " from card.disputes d join ledger.entries p on p.entry_id = d.provisional_entry_id"
        " join ledger.entries r on r.entry_id = d.resolution_entry_id where d.account_id = %s",
        card.account_id,
    )
    assert tuple(dispute.values()) == (
        "LOST", "NOT_RECEIVED", 900, "PROVISIONAL_CREDIT", "CORRECTION",
    )  # fmt: skip
    events = network.rows(
        "select event_type, amount_minor from card.card_events where account_id = %s"
        " order by created_at, occurred_at",
        card.account_id,
    )
    assert [(row["event_type"], row["amount_minor"]) for row in events] == [
        ("CLEARING", 700), ("OVER_CAPTURE", 500), ("REFUND", 200), ("CHARGEBACK", 900),
        ("REPRESENTMENT", 0), ("DISPUTE_LOST", 900),
    ]  # fmt: skip
    assert network.balances(card)[:2] == (1_000, 0)


def test_a_dispute_that_is_won_is_paid_by_the_network(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    network.tell("CLEARING", key, amount_minor=1_000)
    before = disputes_balance(network)
    network.tell("CHARGEBACK", key, reason="FRAUD")
    assert (network.balances(card)[0], disputes_balance(network) - before) == (0, 1_000)
    won = network.tell("DISPUTE_WON", key)
    assert (network.balances(card)[0], disputes_balance(network) - before) == (0, 0)
    kind = "select entry_type from ledger.entries where entry_id = %s"
    assert network.one(kind, won["entry_id"]) == "CHARGEBACK"


def test_a_force_post_is_refunded_and_disputed_by_its_own_key(network):
    card = network.card()
    posted = message("FORCE_POST", amount_minor=1_000, card_id=card.card_id)
    network.apply(posted)
    key = posted["message_key"]
    assert network.tell("REFUND", key, amount_minor=300)["outcome"] == "REFUNDED"
    assert network.tell("REFUND", key, amount_minor=800)["outcome"] == "EXCEEDS_CLEARED"
    charged = network.tell("CHARGEBACK", key, reason="FRAUD")
    assert (charged["outcome"], charged["applied_minor"]) == ("CREDITED", 700)
    assert network.tell("REFUND", key, amount_minor=1)["outcome"] == "EXCEEDS_CLEARED"
    assert network.balances(card)[0] == 0
    assert network.tell("REVERSAL", key)["outcome"] == "ALREADY_CAPTURED"


def test_what_merchants_say_happens_later_happens_now(network):
    card = network.card()
    key = network.authorize(card, 1_000)
    ahead = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    network.tell("CLEARING", key, amount_minor=1_000, occurred_at=ahead)
    late = "select count(*) from {} where {} > now() + interval '1 minute'"
    for table, column in (
        ("card.clearings", "cleared_at"),
        ("card.card_events", "occurred_at"),
        ("ledger.entries", "effective_at"),
    ):
        assert network.one(late.format(table, column)) == 0


@pytest.mark.parametrize(
    ("scheme", "mcc", "days"),
    [
        ("DOMESTIC", "5411", 7),
        ("MASTERCARD", "5411", 7),
        ("VISA", "5411", 10),
        ("DOMESTIC", "7011", 31),
        ("VISA", "3501", 31),
        ("MASTERCARD", "3999", 30),
        ("AMEX", "4411", 31),
        ("VISA", "7512", 31),
        ("AMEX", "5542", 3),
        ("MASTERCARD", "5542", 2),
        ("UNHEARD_OF", "0000", 7),
    ],
)
def test_approvals_are_held_by_network_and_merchant_code(network, scheme, mcc, days):
    held = network.one("select card.hold_period(%s, %s)", scheme, mcc)
    assert held == timedelta(days=days)


def test_a_hold_that_expires_leaves_an_event(network):
    card = network.card()
    network.expire(network.authorize(card, 400))
    (event,) = network.rows(
        "select event_type, amount_minor from card.card_events where account_id = %s",
        card.account_id,
    )
    assert (event["event_type"], event["amount_minor"]) == ("EXPIRY", 400)


def test_after_all_this_the_controls_are_silent(network):
    for control in ("unbalanced_entries", "card_totals", "corrections", "over_limit", "decisions",
                    "holds", "empty_entries"):  # fmt: skip
        assert network.rows(f"select * from ledger.control_{control}") == []
