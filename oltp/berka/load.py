"""Loads the bank through the operational tables; a run that was broken off is simply run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from oltp import copying, posting
from oltp.berka import files, mapping
from oltp.berka.files import Rejection, Row

# Called with what is being loaded, rows done and rows in all.
Progress = Callable[[str, int, int], None]


@dataclass
class Report:
    """What a run read, added and left out. Rows that were there before are read, not added."""

    read: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    observed_through: date | None = None


@dataclass(frozen=True)
class Bank:
    """The rows of the files whose references all lead somewhere."""

    accounts: list[Row]
    clients: list[Row]
    dispositions: list[Row]
    cards: list[Row]
    loans: list[Row]
    transactions: list[Row]
    owners: dict[int, int]


def run(dsn: str, folder: Path, progress: Progress = lambda what, done, total: None) -> Report:
    """Load the files of `folder`; bad rows are reported and the rest is loaded."""
    report = Report()
    bank = read(folder, report.rejections)
    report.observed_through = max((row["date"] for row in bank.transactions), default=None)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, rows in _tables(bank, report.observed_through):
            progress(table, 0, len(rows))
            report.read[table] = len(rows)
            report.added[table] = copying.add(connection, table, rows)
            progress(table, len(rows), len(rows))
        _post(connection, bank.transactions, report, progress)
    return report


def read(folder: Path, rejections: list[Rejection]) -> Bank:
    """Read and check all files before anything is written."""

    def rows(source: files.Source) -> list[Row]:
        found, rejected = files.read(folder, source)
        rejections.extend(rejected)
        return found

    def known(source: files.Source, found: list[Row], column: str, of: list[Row]) -> list[Row]:
        keys = [row[column] for row in of]
        return mapping.known(found, source.file, column, keys, rejections)

    clients, accounts = rows(files.CLIENTS), rows(files.ACCOUNTS)
    dispositions = rows(files.DISPOSITIONS)
    dispositions = known(files.DISPOSITIONS, dispositions, "client_id", clients)
    dispositions = known(files.DISPOSITIONS, dispositions, "account_id", accounts)
    owned = [row for row in dispositions if row["type"] == "OWNER"]
    # An account without an owner has nobody to be responsible for it, nor its dispositions.
    accounts = known(files.ACCOUNTS, accounts, "account_id", owned)
    dispositions = known(files.DISPOSITIONS, dispositions, "account_id", accounts)
    loans = known(files.LOANS, rows(files.LOANS), "account_id", accounts)
    wrong = {row["line"]: bad for row in loans if (bad := mapping.loan_rejection(row))}
    rejections.extend(wrong.values())
    return Bank(
        accounts=accounts,
        clients=clients,
        dispositions=dispositions,
        cards=known(files.CARDS, rows(files.CARDS), "disp_id", dispositions),
        loans=[row for row in loans if row["line"] not in wrong],
        transactions=known(files.TRANSACTIONS, rows(files.TRANSACTIONS), "account_id", accounts),
        owners={row["account_id"]: row["client_id"] for row in owned},
    )


def _tables(bank: Bank, seen: date | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Parents first. Without transactions nothing is known beyond a loan's own day."""
    yield "customer.customers", [mapping.customer(row) for row in bank.clients]
    owners = bank.owners
    yield (
        "card.card_accounts",
        [mapping.card_account(row, owners[row["account_id"]]) for row in bank.accounts],
    )
    yield "customer.account_holders", [mapping.account_holder(row) for row in bank.dispositions]
    account_of = {row["disp_id"]: row["account_id"] for row in bank.dispositions}
    yield "card.cards", [mapping.card(row, account_of) for row in bank.cards]
    payments = mapping.loan_payments(bank.transactions)
    credits = [
        mapping.credit(
            row,
            owners[row["account_id"]],
            payments.get(row["account_id"], []),
            seen or row["date"],
        )
        for row in bank.loans
    ]
    yield "credit.active_credits", [row for row, _ in credits]
    yield "credit.payments", [payment for _, payments in credits for payment in payments]


def _post(
    connection: psycopg.Connection, transactions: list[Row], report: Report, progress: Progress
) -> None:
    """A month in each transaction: small ones, in order of date."""
    table, done, added = posting.TABLE, 0, 0
    for month, chunk in mapping.by_month(transactions):
        progress(f"{table} {month}", done, len(transactions))
        added += posting.post(connection, [mapping.ledger_entry(row) for row in chunk])
        done += len(chunk)
    report.read[table], report.added[table] = done, added
    progress(table, done, len(transactions))
