"""What the operational database refuses, and the odd things that it takes because they are true."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import (
    CheckViolation,
    ExclusionViolation,
    ForeignKeyViolation,
    InvalidTextRepresentation,
    NumericValueOutOfRange,
    StringDataRightTruncation,
    UniqueViolation,
)

from tests.oltp.valid_rows import SEALED, THEN

# Refused whatever else is right about the row: table's maker, the wrong value, the refusal.
REFUSED = [
    ("application", {"requested_amount_minor": 0}, CheckViolation),
    ("application", {"requested_amount_minor": -1}, CheckViolation),
    ("application", {"requested_amount_minor": 2**63}, NumericValueOutOfRange),
    ("application", {"requested_amount_minor": "1e30"}, InvalidTextRepresentation),
    ("application", {"requested_amount_minor": "NaN"}, InvalidTextRepresentation),
    ("application", {"requested_amount_minor": "Infinity"}, InvalidTextRepresentation),
    ("application", {"requested_amount_minor": "10.50"}, InvalidTextRepresentation),
    ("application", {"currency": "usd"}, CheckViolation),
    ("application", {"currency": "US"}, CheckViolation),
    ("application", {"currency": "USDT"}, StringDataRightTruncation),
    ("application", {"term_months": 0}, CheckViolation),
    ("application", {"status": "FROZEN"}, CheckViolation),
    ("application", {"status": "DECLINED"}, CheckViolation),
    ("application", {"decided_at": THEN - timedelta(seconds=1)}, CheckViolation),
    ("application", {"purpose": "car\x00"}, psycopg.DataError),
    ("offer", {"interest_rate": "NaN"}, CheckViolation),
    ("offer", {"interest_rate": "-0.01"}, CheckViolation),
    ("offer", {"interest_rate": "Infinity"}, NumericValueOutOfRange),
    ("offer", {"interest_rate": "1000"}, NumericValueOutOfRange),
    ("offer", {"apr": "NaN"}, CheckViolation),
    ("offer", {"apr": "0.071249"}, CheckViolation),
    ("offer", {"term_months": 0}, CheckViolation),
    ("offer", {"monthly_payment_minor": 0}, CheckViolation),
    ("offer", {"total_repayment_minor": 99_999}, CheckViolation),
    ("offer", {"status": "ACCEPTED", "accepted_at": THEN + timedelta(seconds=1)}, CheckViolation),
    ("credit", {"interest_rate": "NaN"}, CheckViolation),
    ("credit", {"principal_minor": 0}, CheckViolation),
    ("credit", {"matures_on": "2025-01-31"}, CheckViolation),
    ("credit", {"charged_off_on": "2025-06-01"}, CheckViolation),
    ("kyc_record", {"verified_at": None}, CheckViolation),
    ("kyc_record", {"expires_at": THEN}, CheckViolation),
    ("kyc_record", {"expires_at": THEN - timedelta(days=1)}, CheckViolation),
    ("kyc_record", {"risk_score": "NaN"}, CheckViolation),
    ("kyc_record", {"risk_score": "100.01"}, CheckViolation),
    ("authorization", {"amount_minor": -1}, CheckViolation),
    ("authorization", {"currency": "xxx"}, CheckViolation),
    ("authorization", {"mcc": "54"}, CheckViolation),
    ("authorization", {"idempotency_key": ""}, CheckViolation),
    ("authorization", {"decision": "DECLINED"}, CheckViolation),
    ("authorization", {"approved_amount_minor": 1_001}, CheckViolation),
    (
        "authorization",
        {"response_code": "10", "reason_code": "PARTIALLY_APPROVED"},
        CheckViolation,
    ),
    ("authorization", {"message_kind": "VERIFICATION"}, CheckViolation),
    ("authorization", {"message_kind": "INCREMENT"}, CheckViolation),
    ("authorization", {"terminal_latitude_e6": 90_000_001}, CheckViolation),
    ("authorization", {"network": "TELEX"}, CheckViolation),
    ("authorization", {"card_version": 0}, CheckViolation),
    ("program", {"time_zone": "Mars/Olympus"}, CheckViolation),
    ("program", {"stand_in_amount_minor": -1}, CheckViolation),
    ("account", {"program_id": "nobody's"}, ForeignKeyViolation),
    ("spend_limit", {"program_id": None}, CheckViolation),
    ("spend_limit", {"card_id": uuid4()}, CheckViolation),
    ("spend_limit", {"count_limit": None}, CheckViolation),
    ("spend_limit", {"count_limit": -1}, CheckViolation),
    ("spend_limit", {"period": "HOUR"}, CheckViolation),
    ("hold_period", {"mcc_from": "9999", "mcc_to": "9990"}, CheckViolation),
    ("hold_period", {"hold_days": 32}, CheckViolation),
    ("rule_version", {"document": "[]"}, CheckViolation),
    ("rule_version", {"version": "a version"}, CheckViolation),
    ("card_message", {"state": "PARKED"}, CheckViolation),
    ("card_message", {"amount_minor": -1}, CheckViolation),
    ("case", {"status": "APPROVED"}, CheckViolation),
    ("customer", {"full_name": "Ada Lovelace"}, CheckViolation),
    ("customer", {"email": "ada@example.com"}, CheckViolation),
    ("customer", {"national_id": "123-45-6789"}, CheckViolation),
    ("customer", {"email_index": "ada@example.com"}, CheckViolation),
    ("customer", {"country": "USA"}, StringDataRightTruncation),
    ("report", {"period_end": "2025-01-01"}, CheckViolation),
    ("report", {"due_on": "2025-03-31"}, CheckViolation),
    ("report", {"status": "FROZEN"}, CheckViolation),
    ("report", {"approved_by": "ana"}, CheckViolation),
    ("position", {"debt_amount": "NaN"}, CheckViolation),
    ("position", {"debt_amount": "-1"}, CheckViolation),
    ("assessment", {"status": "COMPLETED"}, CheckViolation),
]


@pytest.mark.parametrize(("maker", "wrong", "refusal"), REFUSED, ids=lambda part: str(part)[:60])
def test_a_wrong_value_is_refused(rows, maker, wrong, refusal):
    with pytest.raises(refusal):
        getattr(rows, maker)(**wrong)


TAKEN = [
    ("authorization", {"amount_minor": 0, "message_kind": "VERIFICATION"}),
    ("authorization", {"merchant_id": "Robert'); drop table card.cards; --"}),
    ("application", {"purpose": "=cmd|' /C calc'!A0 \u202e\u200b\U0001f600 e\u0301"}),
    ("offer", {"interest_rate": "0", "apr": "0"}),
    ("offer", {"status": "ACCEPTED", "accepted_at": THEN}),
    ("credit", {"disbursed_on": "2024-02-29", "matures_on": "2025-02-28"}),
    ("kyc_record", {"verified_at": "2024-12-31 23:59:60+00"}),
    (
        "authorization",
        {
            "response_code": "10",
            "reason_code": "PARTIALLY_APPROVED",
            "approved_amount_minor": 400,
        },
    ),
]


@pytest.mark.parametrize(("maker", "odd"), TAKEN, ids=lambda part: str(part)[:60])
def test_an_odd_but_true_value_is_taken(rows, maker, odd):
    getattr(rows, maker)(**odd)


def test_a_program_has_one_limit_a_period_and_currency(rows):
    program = rows.program()
    rows.spend_limit(program_id=program)
    rows.spend_limit(program_id=program, period="MONTH")
    rows.spend_limit(program_id=program, currency="EUR")
    with pytest.raises(UniqueViolation):
        rows.spend_limit(program_id=program, count_limit=None, amount_limit_minor=1)


def test_a_second_version_of_the_rules_does_not_become_active(rows):
    rows.connection.execute("update card.rule_versions set status = 'RETIRED'")
    rows.rule_version(status="ACTIVE")
    with pytest.raises(UniqueViolation):
        rows.rule_version(status="ACTIVE")


def test_what_a_text_holds_comes_back_as_it_came(rows):
    text = "=cmd \u202e \U0001f600 e\u0301 '); drop table x; --"
    application = rows.application(purpose=text)
    found = "select purpose from credit.applications where application_id = %s"
    assert rows.one(found, application) == (text,)


def test_money_beyond_fifteen_digits_is_held_to_the_unit(rows):
    largest = 2**63 - 1
    application = rows.application(requested_amount_minor=largest)
    found = "select requested_amount_minor from credit.applications where application_id = %s"
    assert rows.one(found, application) == (largest,)


def test_a_customer_without_records_can_be_deleted(rows):
    customer = rows.customer()
    done = rows.connection.execute(
        "delete from customer.customers where customer_id = %s", (customer,)
    )
    assert done.rowcount == 1


def test_two_customers_cannot_share_an_address_for_mail_whatever_its_case(rows):
    """Blind indexes are made of normalised values, so letter case does not hide a second one."""
    rows.customer(email_index="a" * 64)
    with pytest.raises(UniqueViolation):
        rows.customer(email_index="a" * 64)


def test_a_row_without_its_parent_is_refused(rows):
    with pytest.raises(ForeignKeyViolation):
        rows.application(customer_id=uuid4())


def test_an_application_is_financed_by_one_offer_only(rows):
    application = rows.application()
    rows.offer(application_id=application, status="ACCEPTED", accepted_at=THEN)
    with pytest.raises(UniqueViolation):
        rows.offer(application_id=application, status="ACCEPTED", accepted_at=THEN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"due_amount_minor": 0, "principal_minor": 0, "interest_minor": 0},
        {"due_amount_minor": 9_001},
        {"paid_amount_minor": -1},
        {"paid_amount_minor": 9_000, "status": "PAID"},
        {"paid_amount_minor": 8_999, "status": "PAID", "paid_at": THEN},
        {"fees_minor": 100, "fees_paid_minor": 101},
        {"paid_amount_minor": None},
    ],
)
def test_an_instalment_that_does_not_add_up_is_refused(rows, wrong):
    with pytest.raises((CheckViolation, psycopg.errors.NotNullViolation)):
        rows.payment(rows.credit(), **wrong)


def receipt(rows, **values):
    row = {
        "payment_receipt_id": uuid4(),
        "credit_id": rows.credit(status="PAID_OFF", closed_on="2025-12-01"),
        "amount_minor": 1_000,
        "currency": "USD",
        "method": "TRANSFER",
        "received_at": THEN,
    }
    return rows.add("credit.payment_receipts", **row | values)


def test_money_for_a_closed_credit_waits_in_suspense_and_is_never_dropped(rows):
    receipt(rows, suspense_minor=1_000)


def test_every_unit_of_a_receipt_is_accounted_for(rows):
    with pytest.raises(CheckViolation):
        receipt(rows, principal_minor=600, interest_minor=399)


def test_a_returned_receipt_says_when_and_why(rows):
    with pytest.raises(CheckViolation):
        receipt(rows, suspense_minor=1_000, status="RETURNED", returned_at=THEN)


def test_owners_hold_at_most_all_of_a_company(rows):
    case = rows.case()
    rows.owner(case, "60")
    rows.owner(case, "40")
    rows.connection.execute("set constraints all immediate")
    rows.connection.execute("set constraints all deferred")
    rows.owner(case, "0.01")
    with pytest.raises(CheckViolation, match=r"kyc.beneficial_owners: .* hold 100.01 percent"):
        rows.connection.execute("set constraints all immediate")


def test_a_share_may_move_between_owners_in_one_transaction(rows):
    case = rows.case()
    one, two = rows.owner(case, "70"), rows.owner(case, "30")
    change = (
        "update kyc.beneficial_owners set ownership_percent = %s where beneficial_owner_id = %s"
    )
    rows.connection.execute(change, (60, two))
    rows.connection.execute(change, (40, one))
    rows.connection.execute("set constraints all immediate")


@pytest.mark.parametrize("percent", ["NaN", "-1", "100.01", "0"])
def test_a_share_is_a_part_of_the_whole(rows, percent):
    with pytest.raises(CheckViolation):
        rows.owner(rows.case(), percent)


def test_reports_of_one_kind_do_not_overlap_and_touch_without_a_gap(rows):
    rows.report()
    rows.report(period_start="2025-04-01", period_end="2025-07-01", due_on="2025-08-01")
    rows.report(jurisdiction="DE")
    with pytest.raises(ExclusionViolation):
        rows.report(period_start="2025-03-31", period_end="2025-06-30", due_on="2025-08-01")


def test_a_secret_of_a_provider_is_refused_in_plain(rows):
    provider = rows.add(
        "provider.providers", provider_id=uuid4(), name=str(uuid4()), provider_type="HYBRID"
    )["provider_id"]
    row = {"credential_id": uuid4(), "provider_id": provider, "credential_type": "API_KEY"}
    with rows.connection.transaction():
        rows.add("provider.credentials", **row, encrypted_value=SEALED, kek_version=1)
    with pytest.raises(CheckViolation):
        rows.add("provider.credentials", **row, encrypted_value="hunter2", kek_version=1)


@pytest.mark.parametrize("price", ["NaN", "0", "-1"])
def test_a_price_is_a_positive_number(rows, price):
    with pytest.raises(CheckViolation):
        rows.price("ETH", price)


def test_a_check_against_sanctions_names_the_list_it_searched(rows):
    with pytest.raises(CheckViolation):
        rows.add(
            "kyc.aml_checks",
            aml_check_id=uuid4(),
            customer_id=rows.customer(),
            check_type="SANCTIONS",
            status="CLEAR",
            provider="house",
            checked_at=THEN,
        )
