"""card.decide_and_hold: one decision a key, never past a limit, totals equal to the ledger."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

NOW = datetime.now(UTC).replace(hour=12)


@pytest.fixture
def bank(database):
    return Bank(database)


class Bank:
    """Makes customers, accounts and cards, and asks for decisions as the application does."""

    def __init__(self, database):
        self.database = database

    def card(self, limit=100_000, currency="USD", **card) -> tuple[UUID, UUID]:
        customer, account, card_id = uuid4(), uuid4(), uuid4()
        with psycopg.connect(self.database.app) as connection:
            connection.execute(
                "insert into customer.customers (customer_id, country) values (%s, 'US')",
                (customer,),
            )
            connection.execute(
                "insert into card.card_accounts (account_id, customer_id, currency,"
                " credit_limit_minor, opened_on) values (%s, %s, %s, %s, '2024-01-01')",
                (account, customer, currency, limit),
            )
            connection.execute(
                "insert into card.cards (card_id, account_id, product, issued_on, expires_on, status)"
                " values (%s, %s, 'CLASSIC', '2024-01-01', '2034-01-01', %s)",
                (card_id, account, card.get("status", "ACTIVE")),
            )
            if "count" in card or "amount" in card:
                connection.execute(
                    "insert into card.spend_limits (card_id, period, currency, count_limit,"
                    " amount_limit_minor) values (%s, 'DAY', %s, %s, %s)",
                    (card_id, currency, card.get("count"), card.get("amount")),
                )
        return account, card_id

    def decide(self, *requests: dict) -> list[dict]:
        with psycopg.connect(self.database.app, row_factory=dict_row) as connection:
            return connection.execute(
                "select * from card.decide_and_hold(%s)", (json.dumps(requests),)
            ).fetchall()

    def together(self, batches: list[list[dict]]) -> list[dict]:
        """Each batch from a session of its own, all let go at the same moment."""
        start = threading.Barrier(len(batches))

        def run(batch: list[dict]) -> list[dict]:
            with psycopg.connect(self.database.app, row_factory=dict_row) as connection:
                start.wait()
                return connection.execute(
                    "select * from card.decide_and_hold(%s)", (json.dumps(batch),)
                ).fetchall()

        with ThreadPoolExecutor(len(batches)) as pool:
            return [answer for answers in pool.map(run, batches) for answer in answers]

    def totals_equal_the_ledger(self) -> None:
        for control in ("unbalanced_entries", "card_totals", "over_limit", "decisions", "holds"):
            wrong = self.database.one(f"select count(*) from ledger.control_{control}")[0]
            assert wrong == 0, control


def request(account, card_id, amount=1_000, key=None, body="a", **other) -> dict:
    return {
        "request_id": str(uuid4()),
        "authorization_id": str(uuid4()),
        "hold_id": str(uuid4()),
        "entry_id": str(uuid4()),
        "idempotency_key": key or str(uuid4()),
        "request_hash": body * 64,
        "card_id": str(card_id),
        "account_id": str(account) if account else None,
        "amount_minor": amount,
        "currency": "USD",
        "merchant_id": "M-1",
        "mcc": "5411",
        "merchant_country": "US",
        "channel": "CHIP",
        "decision": "APPROVED",
        "response_code": "00",
        "reason_code": "APPROVED",
        "rule_hits": [],
        "facts": {"available": 1},
        "rule_version": "v1",
        "requested_at": NOW.isoformat(),
        "decided_at": NOW.isoformat(),
        **other,
    }


def test_fifty_concurrent_requests_with_one_key_get_one_decision_and_one_hold(bank):
    account, card_id = bank.card()
    answers = bank.together([[request(account, card_id, key=f"one-{card_id}")] for _ in range(50)])
    assert len({answer["authorization_id"] for answer in answers}) == 1
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 49
    assert not any(answer["conflict"] for answer in answers)
    assert bank.database.one(
        "select held_minor, (select count(*) from card.holds h where h.account_id = a.account_id)"
        " from card.card_accounts a where account_id = %s",
        account,
    ) == (1_000, 1)
    bank.totals_equal_the_ledger()


@pytest.mark.parametrize(
    ("card", "reason", "code"),
    [
        ({"limit": 10_999}, "INSUFFICIENT_CREDIT", "51"),
        ({"count": 10}, "COUNT_LIMIT_EXCEEDED", "65"),
        ({"amount": 10_500}, "AMOUNT_LIMIT_EXCEEDED", "61"),
    ],
    ids=["credit", "count", "amount"],
)
def test_of_fifty_concurrent_requests_exactly_the_ten_that_a_limit_allows_are_approved(
    bank, card, reason, code
):
    account, card_id = bank.card(**card)
    answers = bank.together([[request(account, card_id)] for _ in range(50)])
    assert sum(answer["decision"] == "APPROVED" for answer in answers) == 10
    refused = [answer for answer in answers if answer["decision"] == "DECLINED"]
    assert {(answer["reason_code"], answer["response_code"]) for answer in refused} == {
        (reason, code)
    }
    assert all(answer["approved_amount_minor"] == 0 for answer in refused)
    bank.totals_equal_the_ledger()


def test_a_limit_holds_within_one_batch_and_in_the_order_of_the_requests(bank):
    account, card_id = bank.card(limit=2_500)
    amounts = (1_000, 2_000, 1_000, 500, 1)
    answers = bank.decide(*(request(account, card_id, amount) for amount in amounts))
    assert [answer["approved_amount_minor"] for answer in answers] == [1_000, 0, 1_000, 500, 0]


def test_a_count_limit_starts_anew_each_utc_day(bank):
    account, card_id = bank.card(count=1)
    tomorrow = (NOW + timedelta(days=1)).isoformat()
    answers = bank.decide(
        request(account, card_id),
        request(account, card_id),
        request(account, card_id, decided_at=tomorrow),
    )
    assert [answer["decision"] for answer in answers] == ["APPROVED", "DECLINED", "APPROVED"]


def test_the_same_key_with_another_body_is_a_conflict_and_writes_nothing(bank):
    account, card_id = bank.card()
    first = bank.decide(request(account, card_id, key=f"k-{card_id}"))[0]
    other_account, other_card = bank.card()
    again = bank.decide(
        request(other_account, other_card, 7_000, key=f"k-{card_id}", body="b"),
        request(other_account, other_card, 100),
    )
    assert again[0]["conflict"]
    assert again[0]["replayed"]
    assert again[0]["authorization_id"] == first["authorization_id"]
    assert not again[1]["conflict"]
    assert bank.database.one(
        "select held_minor from card.card_accounts where account_id = %s", other_account
    ) == (100,)


def test_a_key_twice_in_one_batch_is_decided_once(bank):
    account, card_id = bank.card()
    twice = [request(account, card_id, key=f"k-{card_id}") for _ in range(2)]
    answers = bank.decide(*twice)
    assert [answer["replayed"] for answer in answers] == [False, True]
    assert answers[0]["authorization_id"] == answers[1]["authorization_id"]
    assert [answer["request_id"] for answer in answers] == [r["request_id"] for r in twice]


def test_one_key_raced_under_two_accounts_takes_nothing_from_the_loser(bank):
    for _ in range(20):
        key = str(uuid4())
        cards = [bank.card(limit=1_000) for _ in range(2)]
        answers = bank.together(
            [
                [
                    request(account, card_id, key=key, body=body),
                    request(account, card_id, key=f"{key}-{body}"),
                ]
                for (account, card_id), body in zip(cards, "ab", strict=True)
            ]
        )
        assert sum(answer["conflict"] for answer in answers) == 1
        # The winner's limit is used up by the key; the loser's is free for its other request.
        assert sum(answer["decision"] == "APPROVED" for answer in answers) == 3
    bank.totals_equal_the_ledger()


def test_shuffled_concurrent_batches_of_the_same_requests_never_deadlock(bank):
    cards = [bank.card() for _ in range(20)]
    shared = [request(*card) for card in cards * 3]
    # Unknown cards have no account to lock: only the order of keys keeps them apart.
    shared += [
        request(None, uuid4(), decision="DECLINED", response_code="14", reason_code="UNKNOWN_CARD")
        for _ in range(40)
    ]
    for seed in range(5):
        random.Random(seed).shuffle(shared)
        batches = [random.Random(f"{seed}/{n}").sample(shared, 60) for n in range(8)]
        answers = bank.together(batches)
        assert len(answers) == 8 * 60
    keys = [r["idempotency_key"] for r in shared]
    assert bank.database.one(
        "select count(*), count(distinct idempotency_key) from card.authorizations"
        " where idempotency_key = any(%s)",
        keys,
    ) == (len(keys), len(keys))
    bank.totals_equal_the_ledger()


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("LOST", "CARD_LOST", "41"),
        ("STOLEN", "CARD_STOLEN", "43"),
        ("BLOCKED", "CARD_NOT_ACTIVE", "62"),
    ],
)
def test_a_verdict_made_on_an_old_card_status_is_refused(bank, status, reason, code):
    answer = bank.decide(request(*bank.card(status=status)))[0]
    assert (answer["decision"], answer["reason_code"], answer["response_code"]) == (
        "DECLINED",
        reason,
        code,
    )


def test_a_card_deleted_since_the_verdict_is_unknown_and_the_rest_of_the_batch_goes_on(bank):
    account, card_id = bank.card()
    with psycopg.connect(bank.database.app) as connection:
        connection.execute("delete from card.cards where card_id = %s", (card_id,))
    answers = bank.decide(request(account, card_id), request(*bank.card()))
    assert [answer["response_code"] for answer in answers] == ["14", "00"]


def test_an_amount_in_another_currency_is_never_added(bank):
    answer = bank.decide(request(*bank.card(currency="JPY")))[0]
    assert answer["reason_code"] == "CURRENCY_NOT_SUPPORTED"


def test_a_frozen_account_and_an_unknown_one_are_not_active(bank):
    account, card_id = bank.card()
    with psycopg.connect(bank.database.app) as connection:
        connection.execute(
            "update card.card_accounts set status = 'FROZEN' where account_id = %s", (account,)
        )
    answers = bank.decide(request(account, card_id), request(uuid4(), card_id))
    assert {answer["reason_code"] for answer in answers} == {"ACCOUNT_NOT_ACTIVE"}


def test_a_zero_amount_verifies_the_account_without_a_hold(bank):
    account, card_id = bank.card(limit=0, count=0)
    answer = bank.decide(request(account, card_id, 0))[0]
    assert (answer["decision"], answer["approved_amount_minor"]) == ("APPROVED", 0)
    assert bank.database.one("select count(*) from card.holds where account_id = %s", account) == (
        0,
    )


def test_a_policys_decline_is_kept_as_it_is(bank):
    account, card_id = bank.card(limit=0)
    verdict = {"decision": "DECLINED", "response_code": "59", "reason_code": "VELOCITY_EXCEEDED"}
    assert bank.decide(request(account, card_id, **verdict))[0].items() >= verdict.items()


def test_an_error_in_one_request_writes_nothing_of_its_batch(bank):
    account, card_id = bank.card()
    good, bad = request(account, card_id), request(account, card_id, mcc="12")
    with pytest.raises(psycopg.errors.CheckViolation):
        bank.decide(good, bad)
    assert bank.database.one(
        "select held_minor from card.card_accounts where account_id = %s", account
    ) == (0,)
    assert not bank.decide(good)[0]["replayed"]
