"""The ledger: entries add up, are never changed, and are the only thing that moves a balance."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from oltp import posting
from schemas import codes
from tests.oltp.bank import Bank

AT = datetime(2026, 1, 2, 3, tzinfo=UTC)
CASH = posting.house("CASH", "USD")


@pytest.fixture
def bank(database) -> Bank:
    return Bank(database)


def entry(kind: str = "PURCHASE", **more) -> dict:
    return {"entry_id": uuid4(), "entry_type": kind, "effective_at": AT, **more}


def post(bank: Bank, entries: list[dict], postings: list[dict]) -> int:
    with psycopg.connect(bank.database.app) as connection:
        return posting.post(connection, entries, postings)


def test_an_entry_that_does_not_add_up_is_refused_with_what_is_left(bank):
    account, one = bank.account(), entry()
    debit, credit = posting.move(one["entry_id"], account, CASH, 500, "USD")
    with pytest.raises(errors.CheckViolation) as refused:
        post(bank, [one], [debit, credit | {"amount_minor": 499}])
    assert f"entry {one['entry_id']} does not add up: 1 USD left in layer POSTED" in str(
        refused.value
    )
    assert bank.balances(account) == (0, 0)


def test_layers_and_currencies_add_up_each_for_itself(bank):
    account, one = bank.account(), entry()
    debit, credit = posting.move(one["entry_id"], account, CASH, 500, "USD")
    with pytest.raises(errors.CheckViolation, match="does not add up"):
        post(bank, [one], [debit, credit | {"layer": "HELD"}])
    euro = posting.house("CASH", "EUR")
    with pytest.raises(errors.CheckViolation, match="does not add up"):
        post(bank, [one], [debit, credit | {"currency": "EUR", "ledger_account_id": euro}])


def test_a_posting_in_another_currency_than_its_account_is_refused(bank):
    account, one = bank.account(currency="EUR"), entry()
    with pytest.raises(errors.CheckViolation, match=rf"USD on account {account}, which is in EUR"):
        post(bank, [one], [*posting.move(one["entry_id"], account, CASH, 500, "USD")])


def test_a_posting_on_an_account_that_is_not_there_is_refused(bank):
    one = entry()
    with pytest.raises(errors.CheckViolation, match=r"is not in ledger\.accounts"):
        post(bank, [one], [*posting.move(one["entry_id"], uuid4(), CASH, 500, "USD")])


def test_postings_of_one_entry_in_two_statements_are_refused(bank):
    account, one = bank.account(), entry()
    postings = posting.move(one["entry_id"], account, CASH, 500, "USD")
    assert post(bank, [one], [*postings]) == 1
    add = (
        "insert into ledger.postings (posting_id, entry_id, ledger_account_id, layer, direction,"
        " amount_minor, currency) values (%s, %s, %s, 'POSTED', 'DEBIT', 5, 'USD')"
    )
    with pytest.raises(errors.CheckViolation, match="does not add up"):
        bank.app(add, uuid4(), one["entry_id"], account)
    with pytest.raises(errors.CheckViolation, match="has its postings already"):
        bank.app(
            add + ", (%s, %s, %s, 'POSTED', 'CREDIT', 5, 'USD')",
            uuid4(), one["entry_id"], account, uuid4(), one["entry_id"], CASH,
        )  # fmt: skip


@pytest.mark.parametrize("table", ["entries", "postings", "accounts", "credit_limits"])
@pytest.mark.parametrize(
    "change", ["update {} set created_at = now()", "delete from {}", "truncate {} cascade"]
)
def test_the_journal_is_never_changed_even_by_its_owner(bank, table, change):
    if table == "credit_limits":
        change = change.replace("created_at", "changed_at")
    with pytest.raises(errors.InsufficientPrivilege, match=r"ledger\.\w+ is append-only"):
        bank.owner(change.format(f"ledger.{table}"))


@pytest.mark.parametrize(
    "change",
    [
        "update card.card_accounts set posted_minor = 0",
        "update card.card_accounts set held_minor = 0",
        "update credit.active_credits set outstanding_principal_minor = 0",
        "update ledger.entries set effective_at = now()",
        "delete from ledger.postings",
    ],
)
def test_the_application_moves_no_balance_itself(bank, change):
    with pytest.raises(errors.InsufficientPrivilege):
        bank.app(change)


def test_balances_move_by_exactly_what_was_posted_whatever_is_posted(bank):
    chance = random.Random(4)
    accounts = [bank.account() for _ in range(3)]
    expected = dict.fromkeys(accounts, 0)
    entries, postings = [], []
    for _ in range(200):
        one, amount = entry(over_limit_allowed=True), chance.randint(1, 10_000)
        debit, credit = chance.sample([*accounts, CASH], 2)
        entries.append(one)
        postings += posting.move(one["entry_id"], debit, credit, amount, "USD")
        for account, moved in ((debit, amount), (credit, -amount)):
            if account in expected:
                expected[account] += moved
    assert post(bank, entries, postings) == 200
    assert {account: bank.balances(account) for account in accounts} == {
        account: (posted, 0) for account, posted in expected.items()
    }
    assert bank.found("card_totals") == []


def test_posting_again_changes_nothing_by_id_or_by_reference(bank):
    account, one = bank.account(), entry(external_ref=f"bank:{uuid4()}")
    postings = [*posting.move(one["entry_id"], account, CASH, 500, "USD")]
    assert post(bank, [one], postings) == 1
    assert post(bank, [one], postings) == 0
    other = one | {"entry_id": uuid4()}
    assert post(bank, [other], [*posting.move(other["entry_id"], account, CASH, 9, "USD")]) == 0
    assert bank.balances(account) == (500, 0)


def test_an_unknown_column_is_named(bank):
    with pytest.raises(KeyError, match="account_id"):
        post(bank, [entry(account_id=uuid4())], [])


def test_concurrent_statements_over_the_same_accounts_neither_deadlock_nor_lose(bank):
    accounts = [bank.account() for _ in range(4)]

    def many(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            entries, postings = [], []
            for debit, credit in (chance.sample(accounts, 2) for _ in range(8)):
                one = entry(over_limit_allowed=True)
                entries.append(one)
                postings += posting.move(one["entry_id"], debit, credit, 1, "USD")
            chance.shuffle(postings)
            post(bank, entries, postings)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(many, range(6)))
    assert bank.found("card_totals") == []
    assert sum(bank.balances(account)[0] for account in accounts) == 0


def test_a_credit_is_outstanding_by_what_was_disbursed_repaid_and_charged_off(bank):
    credit = bank.credit(100_000)

    def outstanding() -> int:
        return bank.owner(
            "select outstanding_principal_minor from credit.active_credits where credit_id = %s",
            credit,
        )[0]

    assert outstanding() == 0
    for _ in range(2):
        bank.app("select ledger.disburse(%s, %s)", credit, f"d:{credit}")
        assert outstanding() == 100_000
    for _ in range(2):
        bank.app("select ledger.repay(%s, 30000, 500, 20, %s)", credit, f"r:{credit}")
        assert outstanding() == 70_000
    with pytest.raises(errors.CheckViolation):
        bank.app("select ledger.repay(%s, 70001, 0, 0, %s)", credit, f"r2:{credit}")
    first = bank.app("select ledger.charge_off(%s, %s)", credit, f"c:{credit}")
    assert bank.app("select ledger.charge_off(%s, %s)", credit, f"c:{credit}") == first
    assert outstanding() == 0
    bank.app("select ledger.recover(%s, 900, %s)", credit, f"v:{credit}")
    assert outstanding() == 0
    assert bank.found("credit_principal") == bank.found("unbalanced_entries") == []


def test_more_than_the_principal_cannot_be_outstanding(bank):
    credit = bank.credit(100)
    bank.app("select ledger.disburse(%s, %s)", credit, f"d:{credit}")
    with pytest.raises(errors.CheckViolation, match="active_credits"):
        bank.app("select ledger.disburse(%s, %s)", credit, f"again:{credit}")


def test_less_than_nothing_cannot_be_held(bank):
    account, one = bank.account(), entry("CORRECTION")
    one |= {"entry_type": "PURCHASE"}
    settlement = posting.house("SETTLEMENT", "USD")
    with pytest.raises(errors.CheckViolation, match="card_accounts"):
        post(bank, [one], [*posting.move(one["entry_id"], settlement, account, 1, "USD", "HELD")])


def test_a_mistake_is_corrected_by_its_mirror_and_once(bank):
    account, one = bank.account(), entry()
    post(bank, [one], [*posting.move(one["entry_id"], account, CASH, 500, "USD")])
    key = f"fix:{one['entry_id']}"
    first = bank.app("select ledger.correct(%s, %s)", one["entry_id"], key)
    assert bank.app("select ledger.correct(%s, %s)", one["entry_id"], key) == first
    assert bank.balances(account) == (0, 0)
    with pytest.raises(errors.UniqueViolation):
        bank.app("select ledger.correct(%s, %s)", one["entry_id"], key + "2")
    assert bank.found("corrections") == []


def test_a_key_that_was_used_for_something_else_is_refused(bank):
    account, key = bank.account(), f"pay:{uuid4()}"
    bank.app("select ledger.post_payment(%s, 100, %s)", account, key)
    with pytest.raises(psycopg.Error, match="was used for another entry") as refused:
        bank.app("select ledger.post_payment(%s, 101, %s)", account, key)
    assert refused.value.sqlstate == "MR002"
    assert bank.balances(account) == (-100, 0)


def test_payments_refunds_fees_and_force_posts_move_what_is_owed(bank):
    account = bank.account(limit=1_000)
    bank.app("select ledger.force_post(%s, 5000, %s)", account, f"f:{account}")
    bank.app("select ledger.charge('FEE', %s, 25, %s)", account, f"fee:{account}")
    bank.app("select ledger.charge('INTEREST', %s, 10, %s)", account, f"int:{account}")
    bank.app("select ledger.post_refund(%s, 35, %s)", account, f"ref:{account}")
    bank.app("select ledger.post_payment(%s, 4000, %s)", account, f"pay:{account}")
    assert bank.balances(account) == (1_000, 0)
    assert bank.found("over_limit") == []
    with pytest.raises(errors.NoDataFound):
        bank.app("select ledger.post_payment(%s, 1, %s)", uuid4(), str(uuid4()))


def test_the_house_has_an_account_for_each_kind_and_currency(bank):
    kinds = set(codes.LedgerKind) - {"CARD_RECEIVABLE", "LOAN_PRINCIPAL"}
    expected = {(posting.house(k, c), k, c) for k in kinds for c in codes.EXPONENT}
    with psycopg.connect(bank.database.admin) as connection:
        found = connection.execute(
            "select ledger_account_id, kind, currency from ledger.house_balances"
        ).fetchall()
        totals = connection.execute(
            "select currency, layer, sum(balance_minor) from ledger.trial_balance group by 1, 2"
        ).fetchall()
    assert {(UUID(str(id)), kind, currency) for id, kind, currency in found} == expected
    assert totals
    assert all(total == 0 for _, _, total in totals)


def test_history_is_posted_fast(bank):
    """A floor far below what an idle machine does: the tests share theirs."""
    accounts = [bank.account() for _ in range(50)]
    entries = [entry(over_limit_allowed=True) for _ in range(20_000)]
    postings = [
        leg
        for number, one in enumerate(entries)
        for leg in posting.move(one["entry_id"], accounts[number % 50], CASH, 100, "USD")
    ]
    started = time.perf_counter()
    assert post(bank, entries, postings) == 20_000
    rate = 60_000 / (time.perf_counter() - started)
    assert rate > 3_000, f"{rate:,.0f} rows a second"
