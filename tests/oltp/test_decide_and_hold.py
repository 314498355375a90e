"""card.decide_and_hold: one decision a key, on the newest history, never past a limit."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from tests.oltp.issuer import DECLINED, Issuer
from tests.oltp.network import Card, request

NOW = datetime.now(UTC)
UNKNOWN = {"decision": "DECLINED", "response_code": "14", "reason_code": "UNKNOWN_CARD"}


@pytest.fixture
def issuer(database) -> Issuer:
    return Issuer(database)


def nobody() -> Card:
    """A card that nobody issued."""
    return Card(uuid4(), uuid4())


# --- one decision a key --------------------------------------------------------------------------


def test_fifty_concurrent_requests_with_one_key_get_one_decision_and_one_hold(issuer):
    card = issuer.card()
    answers = issuer.together([[request(card, 1_000, f"one-{card.card_id}")] for _ in range(50)])
    assert len({answer["authorization_id"] for answer in answers}) == 1
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 49
    assert not any(answer["conflict"] or answer["stale"] for answer in answers)
    assert issuer.balances(card) == (0, 1_000, 99_000)
    assert issuer.one("select count(*) from card.holds where account_id = %s", card.account_id) == 1
    issuer.everything_agrees()


def test_of_fifty_concurrent_requests_exactly_the_ten_that_credit_allows_are_approved(issuer):
    card = issuer.card(limit=10_999)
    answers = issuer.together([[request(card, 1_000)] for _ in range(50)])
    refused = [answer for answer in answers if answer["decision"] == "DECLINED"]
    assert len(refused) == 40
    assert {(r["reason_code"], r["response_code"]) for r in refused} == {
        ("INSUFFICIENT_CREDIT", "51")
    }
    assert all(answer["approved_amount_minor"] == 0 for answer in refused)
    issuer.everything_agrees()


def test_credit_holds_within_one_batch_and_in_the_order_of_the_requests(issuer):
    card = issuer.card(limit=2_500)
    answers = issuer.decide(*(request(card, n) for n in (1_000, 2_000, 1_000, 500, 1)))
    assert [answer["approved_amount_minor"] for answer in answers] == [1_000, 0, 1_000, 500, 0]


def test_the_same_key_with_another_body_is_a_conflict_and_writes_nothing(issuer):
    card, other = issuer.card(), issuer.card()
    key = issuer.authorize(card, 1_000)
    again = issuer.decide(request(other, 7_000, key, request_hash="b" * 64), request(other, 100))
    assert [answer["conflict"] for answer in again] == [True, False]
    assert again[0]["replayed"]
    assert again[0]["authorization_id"] == issuer.stored(key)["authorization_id"]
    assert issuer.balances(other) == (0, 100, 99_900)


def test_a_key_twice_in_one_batch_is_decided_once(issuer):
    card = issuer.card()
    twice = [request(card, 1_000, f"k-{card.card_id}") for _ in range(2)]
    answers = issuer.decide(*twice)
    assert [answer["replayed"] for answer in answers] == [False, True]
    assert answers[0]["authorization_id"] == answers[1]["authorization_id"]
    assert [answer["request_id"] for answer in answers] == [r["request_id"] for r in twice]


def test_one_key_raced_under_two_accounts_takes_nothing_from_the_loser(issuer):
    for _ in range(20):
        key = str(uuid4())
        cards = [issuer.card(limit=1_000) for _ in range(2)]
        answers = issuer.together(
            [
                [request(card, 1_000, key, request_hash=body * 64), request(card, 1_000)]
                for card, body in zip(cards, "ab", strict=True)
            ]
        )
        assert sum(answer["conflict"] for answer in answers) == 1
        # The winner's limit is used up by the key; the loser's is free for its other request.
        assert sum(answer["decision"] == "APPROVED" for answer in answers) == 3
    issuer.everything_agrees()


def test_shuffled_concurrent_batches_of_the_same_requests_never_deadlock(issuer):
    program = issuer.program()
    cards = [issuer.card_of(program) for _ in range(20)]
    issuer.limit("program", program, amount=10**9)
    for card in cards[::2]:
        issuer.limit("card", card.card_id, "MONTH", count=1_000)
    shared = [request(card, 1_000) for card in cards * 3]
    # Unknown cards have no account to lock: the order of keys and of new states keeps them apart.
    unknown = [nobody() for _ in range(10)]
    shared += [request(card, 100, account_id=None, **UNKNOWN) for card in unknown * 4]
    for seed in range(5):
        random.Random(seed).shuffle(shared)
        batches = [random.Random(f"{seed}/{n}").sample(shared, 60) for n in range(8)]
        answers = issuer.together(batches)
        assert len(answers) == 8 * 60
    keys = [r["idempotency_key"] for r in shared]
    found = issuer.rows(
        "select count(*) as rows, count(distinct idempotency_key) as keys from card.authorizations"
        " where idempotency_key = any(%s)",
        keys,
    )
    assert found == [{"rows": len(keys), "keys": len(keys)}]
    issuer.everything_agrees()


def test_an_error_in_one_request_writes_nothing_of_its_batch(issuer):
    card = issuer.card()
    good, bad = request(card, 1_000), request(card, 1_000, mcc="12")
    with pytest.raises(psycopg.errors.CheckViolation):
        issuer.decide(good, bad)
    assert issuer.balances(card) == (0, 0, 100_000)
    assert issuer.state(card) is None
    assert not issuer.decide(good)[0]["replayed"]


# --- what the policy's copies did not know -------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("LOST", "CARD_LOST", "41"),
        ("STOLEN", "CARD_STOLEN", "43"),
        ("BLOCKED", "CARD_NOT_ACTIVE", "62"),
    ],
)
def test_a_verdict_made_on_an_old_card_status_is_refused(issuer, status, reason, code):
    card = issuer.card()
    issuer.do("update card.cards set status = %s where card_id = %s", status, card.card_id)
    answer = issuer.decide(request(card, 1))[0]
    assert (answer["reason_code"], answer["response_code"]) == (reason, code)
    assert answer["decision"] == "DECLINED"


def test_a_card_deleted_since_the_verdict_is_unknown_and_the_rest_of_the_batch_goes_on(issuer):
    card = issuer.card()
    issuer.do("delete from card.cards where card_id = %s", card.card_id)
    answers = issuer.decide(request(card, 1), request(issuer.card(), 1))
    assert [answer["response_code"] for answer in answers] == ["14", "00"]


def test_an_amount_in_another_currency_is_never_added(issuer):
    answer = issuer.decide(request(issuer.card(currency="JPY"), 1))[0]
    assert answer["reason_code"] == "CURRENCY_NOT_SUPPORTED"


def test_a_frozen_account_and_an_unknown_one_are_not_active(issuer):
    card = issuer.card()
    issuer.do(
        "update card.card_accounts set status = 'FROZEN' where account_id = %s", card.account_id
    )
    answers = issuer.decide(request(card, 1), request(Card(card.card_id, uuid4()), 1))
    assert {answer["reason_code"] for answer in answers} == {"ACCOUNT_NOT_ACTIVE"}


@pytest.mark.parametrize("kind", ["VERIFICATION", "PURCHASE"])
def test_a_zero_amount_verifies_the_account_without_a_hold(issuer, kind):
    card = issuer.card(limit=0)
    issuer.limit("card", card.card_id, count=0)
    answer = issuer.decide(request(card, 0, message_kind=kind))[0]
    assert (answer["decision"], answer["response_code"]) == ("APPROVED", "00")
    assert answer["approved_amount_minor"] == 0
    assert issuer.one("select count(*) from card.holds where account_id = %s", card.account_id) == 0


def test_a_policys_decline_is_kept_as_it_is(issuer):
    answer = issuer.decide(request(issuer.card(limit=0), 1, **DECLINED))[0]
    assert answer.items() >= DECLINED.items()


# --- the fence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "asked", "is_stale"),
    [
        (0, 1, False),
        (0, 2, True),
        (0, 0, True),
        (3, 4, False),
        (3, 3, True),
        (3, 5, True),
        (3, None, False),
    ],
)
def test_a_verdict_on_another_history_than_the_cards_is_stale(issuer, earlier, asked, is_stale):
    card = issuer.card()
    for _ in range(earlier):
        issuer.authorize(card, 1)
    answer = issuer.decide(request(card, 1, card_version=asked))[0]
    assert answer["stale"] is is_stale
    assert answer["card_version"] == (None if is_stale else earlier + 1)


def test_of_a_stale_request_nothing_is_written_and_it_can_be_asked_again(issuer):
    card = issuer.card()
    asked = request(card, 1_000, card_version=7)
    (answer,) = issuer.decide(asked)
    assert answer == dict.fromkeys(answer) | {"request_id": asked["request_id"], "stale": True}
    assert issuer.state(card) is None
    assert issuer.balances(card) == (0, 0, 100_000)
    (answer,) = issuer.decide(asked | {"card_version": 1})
    assert (answer["stale"], answer["replayed"], answer["decision"]) == (False, False, "APPROVED")
    issuer.everything_agrees()


def test_a_batch_counts_its_own_decisions_of_a_card_declined_ones_too(issuer):
    card = issuer.card()
    answers = issuer.decide(
        request(card, 1, card_version=1),
        request(card, 2, card_version=2, **DECLINED),
        request(card, 3, card_version=3),
    )
    assert [answer["card_version"] for answer in answers] == [1, 2, 3]
    assert issuer.state(card)[0] == 3


@pytest.mark.parametrize(
    "first",
    [
        {"amount": 200_000},  # declined here: beyond the limit
        {"amount": 200_000, "partial_allowed": True},
        {"amount": 10, "idempotency_key": "replayed"},
        {"amount": 10, "card_version": 9},  # stale itself
    ],
    ids=["declined", "partial", "replay", "stale"],
)
def test_after_what_came_out_otherwise_than_its_verdict_later_ones_of_the_card_are_stale(
    issuer, first
):
    card, other = issuer.card(), issuer.card()
    known = str(uuid4())
    if first.get("idempotency_key"):
        issuer.authorize(card, 10, known)
        first = {**first, "idempotency_key": known}
    version = issuer.state(card)[0] + 1 if issuer.state(card) else 1
    asked = request(card, **{"card_version": version, **first})
    answers = issuer.decide(
        asked,
        # Numbers that fit, whether or not the first one has taken its own.
        request(card, 10, card_version=version),
        request(card, 10, card_version=version + 1),
        request(other, 10, card_version=1),
    )
    assert [answer["stale"] for answer in answers[1:]] == [True, True, False]
    issuer.everything_agrees()


def test_what_is_not_fenced_is_decided_whatever_came_before(issuer):
    card = issuer.card(limit=100)
    answers = issuer.decide(request(card, 500, card_version=1), request(card, 50))
    assert [answer["decision"] for answer in answers] == ["DECLINED", "APPROVED"]


def test_a_repetition_of_a_stale_request_in_its_batch_is_stale_too(issuer):
    card = issuer.card()
    asked = [request(card, 1, f"k-{card.card_id}", card_version=5) for _ in range(2)]
    assert [answer["stale"] for answer in issuer.decide(*asked)] == [True, True]


def test_of_fifty_sessions_that_have_seen_the_same_history_one_is_decided(issuer):
    card = issuer.card()
    answers = issuer.together([[request(card, 10, card_version=1)] for _ in range(50)])
    assert sorted(answer["stale"] for answer in answers) == [False] + [True] * 49
    assert issuer.balances(card) == (0, 10, 99_990)


def test_decisions_of_a_card_that_nobody_issued_are_numbered_without_gaps(issuer):
    card = nobody()
    answers = issuer.together([[request(card, 1, account_id=None, **UNKNOWN)] for _ in range(20)])
    assert sorted(answer["card_version"] for answer in answers) == list(range(1, 21))
    assert issuer.state(card)[0] == 20


def test_a_decision_is_never_earlier_than_the_one_before_it_on_its_card(issuer):
    card = issuer.card()
    times = [NOW, NOW - timedelta(minutes=5), NOW + timedelta(minutes=1), NOW]
    asked = [request(card, 1, decided_at=moment.isoformat()) for moment in times]
    issuer.decide(*asked[:1])
    decided = [answer["decided_at"] for answer in issuer.decide(*asked[1:])]
    assert decided == [NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=1)]
    assert issuer.state(card) == (4, NOW + timedelta(minutes=1))


# --- what goes with a decision -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "mcc"), [("VISA", "5411"), ("VISA", "7011"), ("AMEX", "3500"), ("DOMESTIC", "5542")]
)
def test_a_hold_expires_after_the_period_of_its_network_and_merchant_code(issuer, network, mcc):
    key = issuer.authorize(issuer.card(), 100, network=network, mcc=mcc)
    assert issuer.one(
        "select h.expires_at - a.decided_at = card.hold_period(a.network, a.mcc)"
        " from card.holds h join card.authorizations a using (authorization_id)"
        " where a.idempotency_key = %s",
        key,
    )


def test_what_was_available_is_stored_and_can_be_rebuilt_from_the_journal(issuer):
    card = issuer.card(limit=1_000)
    keys = [str(uuid4()) for _ in range(5)]
    amounts = (100, 950, 300, 600, 600)
    issuer.decide(*(request(card, n, key) for n, key in zip(amounts, keys, strict=True)))
    found = [issuer.stored(key)["available_minor"] for key in keys]
    assert found == [1_000, 900, 900, 600, 0]
    rebuilt = (
        "select c.credit_limit_minor - coalesce((select"
        " sum(ledger.signed(p.direction, p.amount_minor)) from ledger.postings p"
        " join ledger.entries e using (entry_id) where p.ledger_account_id = a.account_id"
        " and e.created_at < a.created_at), 0) from card.authorizations a"
        " join card.card_accounts c using (account_id) where a.idempotency_key = %s"
    )
    assert [issuer.one(rebuilt, key) for key in keys] == found


def test_what_shadow_versions_say_is_stored_with_the_decision_and_only_once(issuer):
    version = f"shadow-{uuid4().hex}"
    with psycopg.connect(issuer.database.admin) as connection:
        connection.execute(
            "insert into card.rule_versions (version, status, document, document_sha256,"
            " created_by) values (%s, 'SHADOW', '{}', %s, 'test')",
            (version, "0" * 64),
        )
    hits = [{"rule": "velocity"}]
    asked = request(
        issuer.card(), 100, shadows=[{"version": version, "rule_hits": hits, **DECLINED}]
    )
    issuer.decide(asked, request(issuer.card(), 100, shadows=[]))
    issuer.decide(asked)
    (row,) = issuer.rows("select * from card.shadow_verdicts where version = %s", version)
    assert row.items() >= DECLINED.items()
    assert row["rule_hits"] == hits
    assert str(row["authorization_id"]) == asked["authorization_id"]


def test_an_empty_batch_has_no_answers(issuer):
    assert issuer.decide() == []
