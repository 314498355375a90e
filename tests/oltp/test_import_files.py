"""Bad input of imports: refused with file, line, column, value and rule, and costing itself."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from oltp import importing
from tests.imports import bring

HEADER = "time,card,merchant,amount,currency,mcc,country\n"
GOOD = "2024-03-01T10:00:00Z,tok1,Shop,10.50,USD,5411,US\n"


def cards(folder: Path, rows: str | bytes, header: str = HEADER) -> Path:
    path = folder / "cards.csv"
    path.write_bytes(header.encode() + (rows.encode() if isinstance(rows, str) else rows))
    return path


def left_out(database, path: Path) -> list[str]:
    report = bring(database, "card_transactions", path, dry_run=True)
    return [str(one) for one in report.rejections]


def row(**changed: str) -> str:
    values = dict(zip(HEADER.strip().split(","), GOOD.strip().split(","), strict=True))
    return ",".join((values | changed).values()) + "\n"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"amount": "NaN"}, "amount: 'NaN' is not a plain amount of money [amount]"),
        ({"amount": "Infinity"}, "amount: 'Infinity' is not a plain amount"),
        ({"amount": "1e5"}, "amount: '1e5' is not a plain amount of money [amount]"),
        ({"amount": "1.234"}, "amount: '1.234' is not an amount with at most 2 decimals, as USD"),
        ({"amount": "10.5", "currency": "JPY"}, "amount: '10.5' is not an amount with at most 0"),
        ({"amount": "-5"}, "amount: '-5' is below zero"),
        ({"amount": "0"}, "amount: '0' is not above zero"),
        ({"amount": ""}, "amount: '' has no value [required]"),
        ({"amount": "9" * 30}, f"amount: '{'9' * 30}' is more than fits"),
        ({"amount": "١٢"}, "amount: '١٢' is not a plain amount of money"),
        ({"currency": "XXX"}, "currency: 'XXX' is no known currency"),
        ({"currency": "usd"}, "currency: 'usd' is no known currency"),
        ({"time": "2099-01-01T00:00:00Z"}, "time: '2099-01-01T00:00:00Z' is not between"),
        ({"time": "0001-01-01T00:00:00Z"}, "time: '0001-01-01T00:00:00Z' is not between"),
        ({"time": "infinity"}, "time: 'infinity' is not a time"),
        ({"time": "2023-02-29T00:00:00Z"}, "time: '2023-02-29T00:00:00Z' is not a time"),
        ({"card": "4111111111111111"}, "card: '*** (16 characters)' looks like a card number"),
        ({"mcc": "54"}, "mcc: '54' is not a merchant category"),
        ({"country": "usa"}, "country: 'usa' is not a country of two letters"),
        ({"merchant": "a\0b"}, "-: the row has NUL bytes [nul]"),
        ({"merchant": '"Shop'}, "merchant: the row has 3 of 7 columns"),
    ],
)
def test_a_bad_value_is_refused_with_its_rule_and_the_row_after_it_is_taken(
    database, tmp_path, changed, said
):
    path = cards(tmp_path, GOOD + row(**changed) + GOOD)
    report = bring(database, "card_transactions", path, dry_run=True)
    (found,) = report.rejections
    assert str(found).startswith(f"cards.csv:3:{said}")
    assert report.rows_taken == 2


def test_text_that_means_something_elsewhere_is_kept_as_data(empty_migrated, tmp_path):
    odd = ["=cmd|' /C calc'!A0", "'; drop table x; --", "cafe\u0301 \u202eevil", "😀 \u200bshop"]
    rows = "".join(row(merchant=name, time=f"2024-03-0{n}") for n, name in enumerate(odd, 1))
    report = bring(empty_migrated, "card_transactions", cards(tmp_path, rows))
    assert report.rejections == []
    (kept,) = empty_migrated.one(
        "select array_agg(merchant_id order by requested_at) from card.authorizations"
    )
    assert kept == [odd[0], odd[1], "café \u202eevil", odd[3]]


@pytest.mark.parametrize("cut", range(1, len(GOOD) - 1, 7))
def test_a_file_cut_in_the_middle_of_a_row_loses_only_that_row(database, tmp_path, cut):
    path = cards(tmp_path, GOOD + GOOD + GOOD[:cut])
    report = bring(database, "card_transactions", path, dry_run=True)
    assert [one.line for one in report.rejections] == [4]
    assert report.rows_taken == 2


def test_a_quote_that_is_never_closed_loses_its_own_row_only(database, tmp_path):
    path = cards(tmp_path, row(country='"US') + GOOD)
    (said,) = left_out(database, path)
    assert said == "cards.csv:2:country: a quote is not closed [quote]"


def test_a_byte_order_mark_and_windows_line_ends_are_taken(database, tmp_path):
    path = tmp_path / "cards.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + GOOD).replace("\n", "\r\n").encode() + b"\x1a")
    report = bring(database, "card_transactions", path, dry_run=True)
    assert (report.rows_read, report.rejections) == (1, [])


def test_a_row_in_another_encoding_is_refused_by_itself(database, tmp_path):
    bad = row(merchant="Caf?").encode().replace(b"?", b"\xe9")
    path = cards(tmp_path, GOOD.encode() + bad)
    (said,) = left_out(database, path)
    assert said.startswith("cards.csv:3:-: the row is not utf-8 text at byte")


def test_a_packed_file_is_read_and_of_a_cut_one_all_but_its_end(database, tmp_path):
    path = tmp_path / "cards.csv.gz"
    lines = HEADER + "".join(row(card=f"tok{n}", amount=f"{n}.01") for n in range(1, 3_000))
    packed = gzip.compress(lines.encode(), mtime=0)
    path.write_bytes(packed)
    assert bring(database, "card_transactions", path, dry_run=True).rows_taken == 2_999
    path.write_bytes(packed[: len(packed) // 2])
    report = bring(database, "card_transactions", path, dry_run=True)
    assert 0 < report.rows_taken < 2_999
    assert len(report.rejections) <= 1
    path.write_bytes(b"\x1f\x8b" + b"nonsense" * 9)
    with pytest.raises(importing.FileError, match="damaged gzip"):
        bring(database, "card_transactions", path, dry_run=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (HEADER.encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"time,card\n", "expected the columns time, card, merchant"),
        (b"time,card,card,merchant,amount\n", "the header names card twice"),
        (HEADER.replace("mcc", "mmc").encode(), r"\(not known mmc\)"),
        (b"t\xffme,card,merchant,amount\n", "the header is not utf-8 text"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(database, tmp_path, content, said):
    path = tmp_path / "cards.csv"
    path.write_bytes(content)
    with pytest.raises(importing.FileError, match=said) as caught:
        bring(database, "card_transactions", path, dry_run=True)
    assert "cards.csv" in str(caught.value)


def test_missing_files_and_files_that_nobody_asked_for_are_told(database, tmp_path):
    with pytest.raises(importing.FileError, match=r"nothing\.csv is not there"):
        bring(database, "card_transactions", tmp_path / "nothing.csv")
    with pytest.raises(importing.FileError, match=r"client\.asc is not in"):
        bring(database, "berka", tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "client.asc").write_text("x")
    with pytest.raises(importing.FileError, match=r"account\.asc is not in"):
        bring(database, "berka", tmp_path)
    for name in ("account", "disp", "card", "loan", "trans"):
        (tmp_path / f"{name}.asc").write_text("x")
    with pytest.raises(importing.FileError, match=r"notes\.txt is none of the files of berka"):
        bring(database, "berka", tmp_path, tmp_path / "notes.txt")


def test_rows_are_refused_by_the_databases_own_rules_with_what_depends_on_them(
    empty_migrated, tmp_path
):
    (tmp_path / "m.yaml").write_text("""mapping: rules
title: Rules
currency: USD
files:
  people:
    file: people.csv
    key: id
    columns: {id: whole, mail: {type: text, personal: true}}
  accounts:
    file: accounts.csv
    key: id
    columns: {id: whole, who: {type: whole, of: people}, limit: {type: amount, sign: any}}
into:
  - table: customer.customers
    from: people
    columns:
      customer_id: {id: person, of: id}
      external_ref: {text: "p:{id}"}
      country: {value: US}
    person: {email: mail}
  - table: card.card_accounts
    from: accounts
    columns:
      account_id: {id: account, of: id}
      customer_id: {id: person, of: who}
      currency: {value: USD}
      credit_limit_minor: limit
      opened_on: {value: 2024-01-01}
""")
    (tmp_path / "people.csv").write_text("id,mail\n1,a@b.c\n2,A@B.C\n3,d@e.f\n")
    (tmp_path / "accounts.csv").write_text("id,who,limit\n1,1,5\n2,2,5\n3,3,-1\n")
    report = bring(empty_migrated, tmp_path / "m.yaml", tmp_path)
    accounts, check, people = (str(one) for one in report.rejections)
    # Two customers of one address for mail, after case folding: the second is refused, and its
    # account with it.
    assert people.startswith("people.csv:3:")
    assert "is there twice: customer.customers.tenant_id, email_index" in people
    assert accounts == "accounts.csv:3:who: there is no who 2 [reference]"
    assert check.startswith("accounts.csv:4:limit: '-100' breaks (credit_limit_minor >= 0)")
    assert "a@b.c" not in people.lower()
    assert empty_migrated.one("select count(*) from card.card_accounts") == (1,)
    # Another file with the same address, on another day.
    (tmp_path / "people.csv").write_text("id,mail\n9,a@b.c\n")
    (tmp_path / "accounts.csv").write_text("id,who,limit\n9,9,5\n")
    report = bring(empty_migrated, tmp_path / "m.yaml", tmp_path)
    assert "is another row's already" in str(report.rejections[1])
    assert report.rows_taken == 0
