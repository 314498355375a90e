"""A patch is checked against the contract before it is kept, and says all that is wrong."""

import json

import pytest

from pipelines.patches import PatchRefused, parse
from schemas import contract

PAYMENTS, CUSTOMERS = contract.load("payments"), contract.load("customers")


def test_values_become_the_text_of_their_type() -> None:
    given = {
        "status": "PAID",
        "paid_amount_minor": 9_007_199_254_740_993,
        "paid_at": "2026-01-02T05:04:05.5+02:00",
        "due_date": "2026-02-28",
        "credit_id": "00000000-0000-4000-8000-00000000000A",
    }
    assert parse(json.dumps(given), PAYMENTS) == {
        "status": "PAID",
        "paid_amount_minor": "9007199254740993",
        "paid_at": "2026-01-02T03:04:05.500000Z",
        "due_date": "2026-02-28",
        "credit_id": "00000000-0000-4000-8000-00000000000a",
    }
    assert parse('{"paid_at": null}', PAYMENTS) == {"paid_at": None}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a JSON object"),
        ("[]", "a JSON object of columns"),
        ("{}", "a JSON object of columns"),
        ('{"status": "PAID", "status": "DUE"}', "status is there twice"),
        ('{"statuss": "PAID"}', "payments has no such column; did you mean status?"),
        ('{"payment_id": "x"}', "payment_id: is the key"),
        ('{"status": null}', "status: is required"),
        ('{"status": "FROZEN"}', "status: is not one of"),
        ('{"paid_amount_minor": 1.5}', "paid_amount_minor: is not of type long (a whole number"),
        ('{"paid_amount_minor": true}', "is not of type long"),
        ('{"paid_amount_minor": -1}', "paid_amount_minor: is below 0"),
        ('{"paid_amount_minor": 9223372036854775808}', "it is too large"),
        ('{"currency": "czk"}', "currency: does not match"),
        ('{"paid_at": "2026-01-02T03:04:05"}', "a time needs its zone"),
        ('{"due_date": "2026-02-30"}', "due_date: is not of type date"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_correct(text: str, says: str) -> None:
    with pytest.raises(PatchRefused) as refused:
        parse(text, PAYMENTS)
    assert says in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PatchRefused) as refused:
        parse('{"status": "X", "currency": 5, "none": 1}', PAYMENTS)
    assert len(str(refused.value).splitlines()) == 3


def test_personal_values_stay_sealed_and_restricted_ones_where_they_are() -> None:
    assert parse('{"full_name": "enc:1:abc"}', CUSTOMERS) == {"full_name": "enc:1:abc"}
    with pytest.raises(PatchRefused, match="full_name: does not match"):
        parse('{"full_name": "Ada Lovelace"}', CUSTOMERS)
    with pytest.raises(PatchRefused, match="is restricted"):
        parse('{"details": {}}', contract.load("kyc_records"))


def test_a_decimal_is_never_rounded() -> None:
    offers = next(c for c in contract.load_all() if any(x.type == "decimal" for x in c.columns))
    column = next(x for x in offers.columns if x.type == "decimal")
    exact = "0." + "1" * column.scale
    assert parse(f'{{"{column.name}": {exact}}}', offers) == {column.name: exact}
    with pytest.raises(PatchRefused, match="decimals"):
        parse(f'{{"{column.name}": {exact}1}}', offers)
    with pytest.raises(PatchRefused, match="too large"):
        parse(f'{{"{column.name}": 1e{column.precision}}}', offers)
    with pytest.raises(PatchRefused, match="a number is wanted"):
        parse(f'{{"{column.name}": "NaN"}}', offers)
