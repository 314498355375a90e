"""A clearing file is read whole or refused; a line is read or named, and holds up no other."""

from __future__ import annotations

import re
from contextlib import suppress
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oltp.reconciling.clearing_file import ClearingFileError, parse

CARD = str(uuid4())
NAMES = (
    "kind,network_ref,original_key,card_id,amount_minor,currency,sequence_number,is_final,"
    "merchant_id,mcc,merchant_country,occurred_at"
)
GOOD = "CLEARING,R-1,T-1,,1250,CZK,1,true,M-1,5411,CZ,2026-03-01T10:00:00Z"


def content(*lines: str, trailers: tuple[str, ...] = (), header: str | None = None) -> bytes:
    head = header or "HEADER,1,VISA,V-1,2026-03-01"
    tail = trailers or (f"TRAILER,CZK,{len(lines)},1250,0",)
    return "\n".join((head, NAMES, *lines, *tail, "")).encode()


def test_a_line_is_a_message_under_a_key_that_any_file_with_it_would_give():
    file = parse(content(GOOD))
    assert (file.network, file.file_ref, str(file.business_date)) == ("VISA", "V-1", "2026-03-01")
    (line,) = file.lines
    assert line.raw == GOOD
    assert line.message == {
        "message_kind": "CLEARING", "message_key": "VISA:R-1", "network": "VISA",
        "network_ref": "R-1", "original_key": "T-1", "amount_minor": 1250, "currency": "CZK",
        "sequence_number": 1, "is_final": True, "merchant_id": "M-1", "mcc": "5411",
        "merchant_country": "CZ", "occurred_at": "2026-03-01T10:00:00+00:00",
        "request_hash": line.message["request_hash"],
    }  # fmt: skip
    assert [(t.currency, t.lines, t.debit_minor) for t in file.totals] == [("CZK", 1, 1250)]
    again = parse(content(GOOD, header="HEADER,1,VISA,V-2,2026-03-02")).lines[0]
    assert again.message == line.message


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"", "line 1: the file is empty"),
        (b"\xff\xfeHEADER", "byte 0: not UTF-8"),
        (content(GOOD, header="HEADER,2,VISA,V-1,2026-03-01"), "version '2'"),
        (content(GOOD, header="HEADER,1,TELEX,V-1,2026-03-01"), "network 'TELEX'"),
        (content(GOOD, header="HEADER,1,VISA,,2026-03-01"), "no name of its own"),
        (content(GOOD, header="HEADER,1,VISA,V-1,2026-02-30"), "'2026-02-30' is no day"),
        (content(GOOD).rpartition(b"TRAILER")[0], "no TRAILER: the file was cut off"),
        (content(GOOD, trailers=("TRAILER,CZK,2,1250,0",)), "say 2 lines, the file has 1"),
        (content(GOOD, trailers=("TRAILER,CZK,1,1250,0",) * 2), "two TRAILERs"),
        (content(GOOD, trailers=("TRAILER,XXX,1,1250,0",)), "line 4: expected TRAILER"),
        (content(GOOD, trailers=("TRAILER,CZK,1,-1250,0",)), "line 4: expected TRAILER"),
        (content(GOOD, trailers=("TRAILER,CZK,1,1250,0", GOOD)), "line 5: expected TRAILER"),
        (content(GOOD).replace(b"amount_minor", b"amount"), "columns missing: amount_minor"),
        (content(GOOD).replace(b"merchant_id", b"pan"), "columns unknown: pan"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_the_place(bad: bytes, why: str):
    with pytest.raises(ClearingFileError, match=why):
        parse(bad)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("1250", "-1250"), "amount_minor: '-1250' is no whole number"),
        (("1250", "12.50"), "amount_minor: '12.50' is no whole number"),
        (("1250", "1e9"), "amount_minor: '1e9' is no whole number"),
        (("1250", "٣"), "amount_minor: '٣' is no whole number"),
        (("1250", "0"), "amount_minor: '0' is no whole number"),
        (("1250", "9" * 30), "amount_minor"),
        (("CZK", "czk"), "currency: 'czk'"),
        (("CLEARING,", "CLEARANCE,"), "kind: 'CLEARANCE' is not one"),
        (("R-1", ""), "network_ref: missing"),
        (("R-1", "R" * 201), "network_ref: longer"),
        (("T-1", ""), "original_key: a CLEARING says what it is about"),
        (("CLEARING,R-1,T-1", "FORCE_POST,R-1,"), "card_id: neither"),
        (("T-1,,", "T-1,12,"), "card_id: '12' is not one"),
        (("true", "yes"), "is_final: 'yes' is neither"),
        (("5411", "541"), "mcc: '541' is not four digits"),
        ((",CZ,2026", ",cz,2026"), "merchant_country"),
        (("10:00:00Z", "10:00:00"), "occurred_at: .* has no time zone"),
        (("2026-03-01T", "2026-02-30T"), "occurred_at"),
        (("M-1", '"M-1'), "no CSV"),
        (("M-1", "M-1,x"), "13 fields where the file has 12"),
        (("M-1", "M\0"), "NUL"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_holds_up_no_other(change, problem: str):
    bad = GOOD.replace(*change)
    good = GOOD.replace("R-1", "R-2")
    file = parse(content(bad, good))
    (line,) = file.unreadable
    assert line.number == 3
    assert line.message is None
    assert re.search(problem, line.problem)
    assert [line.message["network_ref"] for line in file.lines if line.message] == ["R-2"]


def test_a_reference_twice_in_a_file_is_read_once():
    file = parse(content(GOOD, GOOD))
    (again,) = file.unreadable
    assert again.problem == "network_ref: the same as on line 3"


def test_windows_line_ends_a_mark_at_the_start_and_empty_lines_change_nothing():
    text = content(GOOD).decode()
    windows = "\ufeff" + text.replace("\n", "\r\n\r\n")
    assert [line.message for line in parse(windows.encode()).lines] == [
        line.message for line in parse(content(GOOD)).lines
    ]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_whatever_the_bytes_a_file_is_read_or_refused_and_never_anything_else(noise, at):
    good = content(GOOD)
    for bad in (noise, good[:at] + noise + good[at:], good[: at % len(good)]):
        with suppress(ClearingFileError):
            parse(bad)
