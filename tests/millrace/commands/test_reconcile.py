"""`millrace clearing`, `reconcile` and `disputes`: a day at the settlement desk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.millrace.commands.conftest import Office
from tests.oltp.bank import Bank

NAMES = "kind,network_ref,original_key,account_id,amount_minor,currency,occurred_at"
NOW = datetime.now(UTC)


@pytest.fixture
def bank(office: Office) -> Bank:
    return Bank(office.database)


def file(office: Office, name: str, *lines: str) -> Path:
    debits = sum(int(line.split(",")[4]) for line in lines if line.split(",")[4].isdecimal())
    path = office.folder / f"{name}.csv"
    head = f"HEADER,1,AMEX,{name},{NOW.date()}"
    path.write_text("\n".join((head, NAMES, *lines, f"TRAILER,USD,{len(lines)},{debits},0\n")))
    return path


def test_a_file_is_loaded_shown_and_loaded_again_without_effect(office: Office, bank: Bank) -> None:
    account = bank.account()
    good = f"FORCE_POST,R-1,,{account},700,USD,{NOW.isoformat()}"
    bad = f"FORCE_POST,R-2,,{account},7.00,USD,{NOW.isoformat()}"
    path = file(office, "day-1", good, bad)
    loaded = office.run("clearing", "load", path)
    assert loaded.exit_code == 1
    assert "day-1.csv:4: amount_minor: '7.00' is no whole number" in loaded.stdout
    assert bank.balances(account) == (700, 0)
    assert "loaded before" in office.run("clearing", "load", path).stdout
    assert "day-1" in office.run("clearing", "show").stdout
    lines = office.run("clearing", "show", "day-1").stdout
    assert "UNREADABLE" in lines
    assert "FORCE_POSTED" in lines
    assert office.run("clearing", "show", "day-9").exit_code == 1


def test_a_file_that_was_cut_off_is_refused_with_what_to_do(office: Office) -> None:
    path = file(office, "day-2", f"FORCE_POST,R-3,,{uuid4()},1,USD,{NOW.isoformat()}")
    path.write_bytes(path.read_bytes().rpartition(b"TRAILER")[0])
    refused = office.run("clearing", "load", path)
    assert refused.exit_code == 1
    assert "the file was cut off; ask the network for it again" in refused.stderr
    assert office.run("clearing", "load", office.folder / "nothing.csv").exit_code == 2


def test_breaks_are_listed_given_to_somebody_and_explained(office: Office, bank: Bank) -> None:
    unknown = f"FORCE_POST,R-4,,{uuid4()},1,USD,{NOW.isoformat()}"
    office.run("clearing", "load", file(office, "day-3", unknown))
    found = office.run("reconcile", "--owner", "settlement")
    assert found.exit_code == 1
    assert "UNPOSTED" in found.stdout
    for one in bank_breaks(bank):
        given = office.run("reconcile", "--assign", one, "--owner", "ana", "--because", "known")
        assert "ana" in given.stdout
    assert office.run("reconcile").exit_code == 0
    assert office.run("reconcile", "--assign", uuid4(), "--owner", "ana").exit_code == 1
    assert office.run("reconcile", "--assign", uuid4()).exit_code == 2


def bank_breaks(bank: Bank) -> list[str]:
    (ids,) = bank.owner(
        "select array_agg(settlement_break_id::text) from ledger.settlement_breaks"
        " where state = 'OPEN'"
    )
    return ids


def test_disputes_are_listed_until_they_end(office: Office, bank: Bank) -> None:
    assert "no disputes" in office.run("disputes").stdout
    account, key = bank.account(), str(uuid4())
    told = {"account_id": str(account), "currency": "USD", "amount_minor": 300, "network": "VISA"}

    def tell(kind: str, own_key: str, **more: object) -> None:
        message = {**told, "message_key": own_key, "message_kind": kind, **more}
        bank.app("select card.apply_messages(%s)", Jsonb([message]))

    tell("FORCE_POST", key, network_ref=str(uuid4()))
    tell("CHARGEBACK", str(uuid4()), original_key=key, reason="FRAUD")
    listed = office.run("disputes").stdout
    assert "CHARGEBACK" in listed
    assert "1 CHARGEBACK" in listed
    tell("DISPUTE_LOST", str(uuid4()), original_key=key)
    assert office.run("disputes").stdout.strip() == "1 LOST"
    assert "LOST" in office.run("disputes", "--all").stdout
    assert "LOST" in office.run("disputes", "--status", "LOST").stdout
