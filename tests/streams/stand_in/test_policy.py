"""Which copies a row becomes."""

from datetime import date

from schemas import keys
from streams.stand_in import policy
from streams.stand_in.policy import ACCOUNT, CARD, CUSTOMER, PROGRAM, ROW, SCREENING

ACCOUNT_ROW = {
    "account_id": "a-1",
    "customer_id": "u-1",
    "program_id": "standard",
    "currency": "CZK",
    "status": "ACTIVE",
    "credit_limit_minor": 1000,
    "posted_minor": -50,
    "held_minor": 300,
}


def test_a_card_is_usable_while_it_is_active() -> None:
    row = {"card_id": "c-1", "account_id": "a-1", "expires_on": date(2027, 1, 31)}
    for status, usable in (("ACTIVE", "1"), ("BLOCKED", "0"), ("LOST", "0"), ("NEW_WORD", "0")):
        part = policy.part(CARD, row | {"status": status})
        assert (part.key, part.guard) == (keys.stand_in_copy(CARD, "c-1"), ROW)
        assert part.fields == {
            "account_id": "a-1",
            "is_usable": usable,
            "expires_on": "2027-01-31",
        }


def test_days_are_read_as_capture_writes_them_and_as_the_database_does() -> None:
    row = {"card_id": "c-1", "account_id": "a-1", "status": "ACTIVE"}
    day = date(2027, 1, 31)
    captured = policy.part(CARD, row | {"expires_on": (day - date(1970, 1, 1)).days})
    assert captured == policy.part(CARD, row | {"expires_on": day})


def test_what_is_available_is_the_limit_less_what_is_owed_and_held() -> None:
    part = policy.part(ACCOUNT, ACCOUNT_ROW)
    assert part.fields["available_minor"] == "750"
    assert policy.part(ACCOUNT, ACCOUNT_ROW | {"held_minor": 2000}).fields["available_minor"] == (
        "-950"
    )


def test_a_row_that_is_gone_leaves_no_fields() -> None:
    assert policy.part(ACCOUNT, {"account_id": "a-1"}, is_there=False).fields == {}


def test_a_screening_is_a_part_of_its_own() -> None:
    row = policy.part(CUSTOMER, {"customer_id": "u-1", "status": "ACTIVE"})
    found = policy.screening("u-1", True)
    assert row.key == found.key
    assert (row.guard, found.guard) == (ROW, SCREENING)
    assert (row.fields, found.fields) == ({"is_usable": "1"}, {"is_sanctioned": "1"})


def test_a_program_says_how_much_and_how_often() -> None:
    row = {"program_id": "standard", "stand_in_amount_minor": 5000, "stand_in_count": 3}
    assert policy.part(PROGRAM, row).fields == {"amount_minor": "5000", "count": "3"}


def test_places_sort_by_epoch_then_by_the_log_and_a_rebuild_comes_first() -> None:
    old, new = policy.epoch_text(9), policy.epoch_text(10)
    position = "00000000000000000001.1.00000000000000000001"
    places = [
        policy.place(old, ""),
        policy.place(old, position),
        policy.place(new, ""),
        policy.place(new, position),
    ]
    assert places == sorted(places)
