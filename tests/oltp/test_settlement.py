"""Clearing files are applied once, whatever happens; what differs is a break until it is gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from oltp.reconciling import loading, settlement
from oltp.reconciling.clearing_file import ClearingFileError
from tests.oltp.bank import Bank

DAY = datetime.now(UTC).date()
NAMES = "kind,network_ref,original_key,account_id,amount_minor,currency,occurred_at"


class Desk(Bank):
    """A bank that is sent clearing files by one network, and reconciles."""

    def purchase(self, account, amount: int) -> str:
        """The key of an approved authorization."""
        hold = self.hold(account, amount)
        (key,) = self.owner(
            "select a.idempotency_key from card.holds h"
            " join card.authorizations a using (authorization_id) where h.hold_id = %s",
            hold,
        )
        return key

    def file(self, *lines: str, name: str | None = None, total: int | None = None) -> bytes:
        debits = sum(int(line.split(",")[4]) for line in lines if line.split(",")[4].isdecimal())
        return "\n".join(
            (
                f"HEADER,1,AMEX,{name or uuid4()},{DAY}",
                NAMES,
                *lines,
                f"TRAILER,USD,{len(lines)},{debits if total is None else total},0",
                "",
            )
        ).encode()

    def load(self, content: bytes) -> loading.Loaded:
        return loading.load(self.database.app, content)

    def breaks(self, owner: str | None = None) -> dict[str, settlement.Break]:
        with psycopg.connect(self.database.app, autocommit=True) as connection:
            settlement.compare(connection)
            return {found.subject: found for found in settlement.breaks(connection, owner)}


def line(
    kind: str, ref: str, key: str, amount: object, account: object = "", currency="USD"
) -> str:
    return f"{kind},{ref},{key},{account},{amount},{currency},{datetime.now(UTC).isoformat()}"


def ref() -> str:
    return f"R-{uuid4()}"


@pytest.fixture
def desk(empty_migrated) -> Desk:
    return Desk(empty_migrated)


def test_lines_are_posted_once_however_often_and_in_whichever_file_they_come(desk):
    account = desk.account()
    first, second = ref(), ref()
    lines = (
        line("CLEARING", first, desk.purchase(account, 700), 700),
        line("FORCE_POST", second, "", 40, account),
    )
    loaded = desk.load(desk.file(*lines, name="one"))
    assert loaded.outcomes == {("APPLIED", "CLEARED"): 1, ("APPLIED", "FORCE_POSTED"): 1}
    assert desk.balances(account) == (740, 0)
    assert desk.load(desk.file(*lines, name="one")).is_known
    again = desk.load(desk.file(*lines, name="two"))
    assert again.outcomes == loaded.outcomes
    assert desk.balances(account) == (740, 0)
    assert desk.breaks() == {}


def test_a_name_that_was_used_for_another_content_is_refused(desk):
    account = desk.account()
    desk.load(desk.file(line("FORCE_POST", ref(), "", 40, account), name="one"))
    with pytest.raises(ClearingFileError, match="AMEX one was loaded before"):
        desk.load(desk.file(line("FORCE_POST", ref(), "", 41, account), name="one"))
    assert desk.balances(account) == (40, 0)


def test_a_load_that_broke_off_is_continued_by_loading_the_file_again(desk, monkeypatch):
    account = desk.account()
    content = desk.file(*(line("FORCE_POST", ref(), "", 1, account) for _ in range(5)))
    monkeypatch.setattr(loading, "BATCH", 2)

    def breaks_off(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loading.load(desk.database.app, content, breaks_off)
    assert desk.balances(account) == (4, 0)
    (found,) = desk.breaks().values()
    assert (found.kind, found.problem) == ("UNPOSTED", "not applied yet: load the file again")
    assert not desk.load(content).is_known
    assert desk.balances(account) == (5, 0)
    assert desk.breaks() == {}
    assert desk.load(content).is_known


def test_a_file_that_is_loaded_by_several_at_once_is_posted_once(desk):
    account = desk.account()
    content = desk.file(*(line("FORCE_POST", ref(), "", 1, account) for _ in range(50)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(desk.load, [content] * 4))
    assert desk.balances(account) == (50, 0)
    assert desk.breaks() == {}


def test_a_presentment_that_came_as_a_message_before_its_file_is_not_posted_again(desk):
    account, reference = desk.account(), ref()
    key = desk.purchase(account, 500)
    message = {
        "message_key": str(uuid4()), "message_kind": "CLEARING", "original_key": key,
        "amount_minor": 500, "currency": "USD", "network": "AMEX", "network_ref": reference,
    }  # fmt: skip
    desk.app("select card.apply_messages(%s)", psycopg.types.json.Jsonb([message]))
    desk.load(desk.file(line("CLEARING", reference, key, 500)))
    assert desk.balances(account) == (500, 0)
    assert desk.breaks() == {}


def test_what_a_message_said_otherwise_than_the_file_is_a_break(desk):
    account, reference = desk.account(), ref()
    key = desk.purchase(account, 500)
    message = {
        "message_key": str(uuid4()), "message_kind": "CLEARING", "original_key": key,
        "amount_minor": 480, "currency": "USD", "network": "AMEX", "network_ref": reference,
    }  # fmt: skip
    desk.app("select card.apply_messages(%s)", psycopg.types.json.Jsonb([message]))
    desk.load(desk.file(line("CLEARING", reference, key, 500), name="f"))
    found = desk.breaks()["AMEX f line 3"]
    assert (found.kind, found.file_minor, found.ledger_minor) == ("AMOUNT", 500, 480)
    assert (found.owner, found.account_id, found.currency) == ("finance", account, "USD")


def test_lines_that_cannot_be_posted_are_breaks_of_the_settlement_desk(desk):
    account = desk.account()
    loaded = desk.load(
        desk.file(
            line("CLEARING", ref(), "T", "12.50"),
            line("FORCE_POST", ref(), "", 10, uuid4()),
            line("FORCE_POST", ref(), "", 20, account, "EUR"),
            line("FORCE_POST", ref(), "", 30, account),
            name="f",
        )
    )
    assert loaded.outcomes[("APPLIED", "FORCE_POSTED")] == 1
    found = desk.breaks("settlement")
    assert {subject: one.kind for subject, one in found.items()} == {
        "AMEX f line 3": "UNREADABLE",
        "AMEX f line 4": "UNPOSTED",
        "AMEX f line 5": "UNPOSTED",
        "AMEX f USD": "FILE_TOTAL",
    }
    assert "12.50" in found["AMEX f line 3"].problem
    assert found["AMEX f line 4"].problem == "REFUSED: ACCOUNT_NOT_FOUND"
    assert found["AMEX f line 5"].problem == "REFUSED: WRONG_CURRENCY"
    assert desk.balances(account) == (30, 0)
    assert desk.breaks("ledger") == {}


def test_a_key_that_was_used_for_another_line_is_a_conflict_and_a_break(desk):
    account, reference = desk.account(), ref()
    desk.load(desk.file(line("CHARGEBACK", reference, "nobody's", 40)))
    desk.load(desk.file(line("FORCE_POST", reference, "", 41, account), name="two"))
    assert "used for another message" in desk.breaks()["AMEX two line 3"].problem
    assert desk.balances(account) == (0, 0)


def test_what_was_posted_and_is_in_no_file_of_its_network_is_a_break_until_a_file_has_it(desk):
    account, reference = desk.account(), ref()
    message = {
        "message_key": str(uuid4()), "message_kind": "FORCE_POST", "account_id": str(account),
        "amount_minor": 60, "currency": "USD", "network": "AMEX", "network_ref": reference,
    }  # fmt: skip
    desk.app("select card.apply_messages(%s)", psycopg.types.json.Jsonb([message]))
    assert desk.breaks() == {}, "no file of the network goes so far"
    desk.load(desk.file(line("FORCE_POST", ref(), "", 1, account)))
    found = desk.breaks()[reference]
    assert (found.kind, found.ledger_minor, found.file_minor) == ("NOT_PRESENTED", 60, None)
    desk.load(desk.file(line("FORCE_POST", reference, "", 60, account)))
    assert desk.breaks() == {}
    assert desk.owner("select state from ledger.settlement_breaks") == ("RESOLVED",)


@pytest.mark.parametrize(("column", "kind"), [("posted_minor", "POSITION"), ("held_minor", "HELD")])
def test_a_position_that_is_not_what_was_entered_is_a_break_of_the_ledger(desk, column, kind):
    account = desk.account()
    desk.hold(account, 100)
    change = f"update card.card_accounts set {column} = {column} + %s where account_id = %s"
    desk.broken(change, 5, account)
    found = desk.breaks("ledger")[str(account)]
    assert (found.kind, found.position_minor - found.ledger_minor) == (kind, 5)
    desk.broken(change, -5, account)
    assert desk.breaks() == {}


def test_a_break_keeps_its_age_and_owner_and_an_explanation_holds_while_the_amounts_do(desk):
    account = desk.account()
    change = "update card.card_accounts set posted_minor = %s where account_id = %s"
    desk.broken(change, 5, account)
    first = desk.breaks()[str(account)]
    assert (first.state, first.owner) == ("OPEN", "ledger")
    desk.owner(
        "update ledger.settlement_breaks set first_seen_at = now() - interval '3 days' returning 1"
    )
    with psycopg.connect(desk.database.app, autocommit=True) as connection:
        assert settlement.assign(connection, first.id, "ana")
    kept = desk.breaks("ana")[str(account)]
    assert (kept.state, kept.age.days, kept.explanation) == ("OPEN", 3, None)
    with psycopg.connect(desk.database.app, autocommit=True) as connection:
        assert settlement.assign(connection, first.id, "ana", "a test put it there")
    explained = desk.breaks()[str(account)]
    assert (explained.state, explained.explanation) == ("EXPLAINED", "a test put it there")
    desk.broken(change, 6, account)
    assert desk.breaks()[str(account)].state == "OPEN"
    desk.broken(change, 0, account)
    assert desk.breaks() == {}
    with psycopg.connect(desk.database.app, autocommit=True) as connection:
        assert not settlement.assign(connection, first.id, "bob")
    desk.broken(change, 7, account)
    again = desk.breaks()[str(account)]
    assert (again.id, again.state, again.age < timedelta(minutes=5)) == (first.id, "OPEN", True)


def test_the_application_cannot_change_a_break_behind_the_functions(desk):
    for statement in (
        "update ledger.settlement_breaks set state = 'RESOLVED', resolved_at = now()",
        "delete from ledger.settlement_breaks",
        "delete from card.clearing_lines",
        "update card.clearing_lines set amount_minor = 1",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            desk.app(statement)
