"""What a change of a customer, KYC record, account or card becomes in Redis."""

import json

from schemas import cached_rows, keys
from streams import changes
from streams.cache import policy

CARD = {
    "card_id": "c-1",
    "account_id": "a-1",
    "external_ref": None,
    "product": "GOLD",
    "status": "ACTIVE",
    "issued_on": 19000,
    "expires_on": 21154,
}
KYC = {
    "kyc_record_id": "k-1",
    "customer_id": "u-1",
    "verification_type": "IDENTITY",
    "status": "VERIFIED",
    "expires_at": "2027-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "details": '{"secret": 1}',
}


def test_a_card_becomes_one_hash_of_text() -> None:
    (edit,) = policy.edits("cards", None, CARD)
    assert edit.key == keys.card_snapshot("c-1")
    assert edit.fields == {
        "account_id": "a-1",
        "product": "GOLD",
        "status": "ACTIVE",
        "expires_on": "2027-12-02",
    }


def test_no_name_address_or_document_of_a_customer_reaches_redis() -> None:
    row = {"customer_id": "u-1", "full_name": "Jan", "email": "j@x", "status": "ACTIVE"}
    (edit,) = policy.edits("customers", None, {**row, "country": "CZ"})
    assert set(edit.fields) == {"status", "country"}
    (edit,) = policy.edits("kyc_records", None, KYC)
    assert "secret" not in json.dumps(dict(edit.fields))


def test_a_delete_drops_the_columns_and_keeps_the_guard() -> None:
    (edit,) = policy.edits("cards", CARD, None)
    assert (edit.fields, edit.guard) == ({}, policy.POSITION)
    assert set(edit.drop) == {"account_id", "product", "status", "expires_on"}


def test_a_value_that_became_null_is_dropped() -> None:
    (edit,) = policy.edits("customers", None, {"customer_id": "u-1", "status": "ACTIVE"})
    assert edit.drop == ("country",)


def test_a_kyc_record_is_one_field_with_its_own_guard() -> None:
    (edit,) = policy.edits("kyc_records", None, KYC)
    assert edit.key == keys.kyc_snapshot("u-1")
    assert json.loads(edit.fields["k-1"])["status"] == "VERIFIED"
    assert edit.guard.startswith("k-1:")


def screening(status: str, checked_at: str, check_type: str = "SANCTIONS") -> dict[str, object]:
    return {
        "aml_check_id": "x",
        "customer_id": "u-1",
        "check_type": check_type,
        "status": status,
        "checked_at": checked_at,
    }


def test_an_answer_about_sanctions_stands_beside_the_kyc_records() -> None:
    (edit,) = policy.edits("aml_checks", None, screening("CONFIRMED_MATCH", "2026-01-01T00:00:00Z"))
    assert edit.key == keys.kyc_snapshot("u-1")
    assert edit.fields == {"sanctions": "CONFIRMED_MATCH"}


def test_a_later_answer_about_sanctions_stands_whichever_was_changed_last() -> None:
    moments = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01.25+00:00")
    ages = [policy.edits("aml_checks", None, screening("CLEAR", m))[0].age for m in moments]
    assert ages == sorted(set(ages))


def test_what_is_no_answer_about_sanctions_changes_nothing() -> None:
    moment = "2026-01-01T00:00:00Z"
    assert policy.edits("aml_checks", None, screening("POTENTIAL_MATCH", moment)) == ()
    assert policy.edits("aml_checks", None, screening("CONFIRMED_MATCH", moment, "PEP")) == ()
    assert policy.edits("aml_checks", screening("CLEAR", moment), None) == ()


def test_a_kyc_record_that_moves_leaves_its_old_customer() -> None:
    old, new = policy.edits("kyc_records", KYC, {**KYC, "customer_id": "u-2"})
    assert (old.key, old.drop) == (keys.kyc_snapshot("u-1"), ("k-1",))
    assert new.key == keys.kyc_snapshot("u-2")


def test_a_stamp_says_the_transaction_and_sorts_as_the_log_does() -> None:
    at = [changes.position(9, True, 10), changes.position(9, True, 11)]
    stamps = [cached_rows.stamped(at[0], None), *(cached_rows.stamped(p, 7) for p in at)]
    assert stamps == sorted(stamps)
    assert cached_rows.stamp(stamps[1]) == cached_rows.Stamp(10, True, 7)
    assert cached_rows.stamp(stamps[0]) == cached_rows.Stamp(10, True, None)
    assert cached_rows.stamp("") is None
