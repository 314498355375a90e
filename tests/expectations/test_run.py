"""Each kind of rule fails on a bad row under its own name, and passes on good ones."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from expectations import run
from expectations.masking import MASKED
from schemas import contract
from tests.expectations.increments import AT, row, table, valid

ENTITIES = [c.entity for c in contract.load_published()]


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_realistic_increment_passes_every_rule(entity: str) -> None:
    result = run.check(entity, valid(entity, 3))
    assert result.success, str(result)
    assert result.rows == 3
    assert {o.evaluated for o in result.outcomes} == {3}


BAD_ROWS: list[tuple[str, dict[str, Any], str, str]] = [
    ("payments", {"due_date": None}, "due_date.required", "error"),
    ("payments", {"status": "LATE"}, "status.code", "error"),
    ("payments", {"due_amount_minor": 0, "principal_minor": 0, "interest_minor": 0},
     "due_amount_minor.minimum", "error"),
    ("payments", {"currency": "usd"}, "currency.pattern", "error"),
    ("payments", {"payment_id": "42"}, "payment_id.type", "error"),
    ("payments", {"interest_minor": 21}, "due_is_principal_and_interest", "error"),
    ("payments", {"status": "PARTIAL", "paid_amount_minor": 0}, "partial_is_partly_paid", "error"),
    ("payments", {"status": "PARTIAL", "paid_amount_minor": 100}, "partial_is_partly_paid",
     "error"),
    ("authorizations", {"facts": "{"}, "facts.type", "error"),
    ("authorizations", {"currency": "XXX"}, "known_currency", "warning"),
    ("authorizations", {"decided_at": AT + timedelta(seconds=61)}, "decided_within_a_minute",
     "warning"),
    ("authorizations",
     {"decision": "DECLINED", "response_code": "05", "reason_code": "UNKNOWN_CARD"},
     "unknown_card_is_14", "error"),
    ("authorizations", {"response_code": "10", "reason_code": "PARTIALLY_APPROVED"},
     "a_part_is_less_than_was_asked", "error"),
    ("ledger_entries", {"hold_id": None}, "a_hold_has_its_authorization", "error"),
    ("card_accounts", {"held_minor": 81}, "within_its_limit", "warning"),
    ("offers", {"monthly_payment_minor": 1}, "instalments_repay_the_amount", "error"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("entity", "bad", "rule", "severity"), BAD_ROWS, ids=[case[2] for case in BAD_ROWS]
)
def test_a_bad_row_fails_the_rule_that_names_it(
    entity: str, bad: dict[str, Any], rule: str, severity: str
) -> None:
    result = run.check(entity, table(entity, row(entity, 1), row(entity, 2, **bad)))
    assert [(o.name, o.severity, o.unexpected, o.evaluated) for o in result.failures] == [
        (rule, severity, 1, 2)
    ]
    assert result.blocked is (severity == "error")
    (sample,) = result.failures[0].sample
    (key,) = contract.load(entity).key
    assert sample[key] == bad.get(key, row(entity, 2)[key])


def test_a_key_that_comes_twice_fails() -> None:
    result = run.check("holds", table("holds", row("holds", 1), row("holds", 1)))
    assert [o.name for o in result.failures] == ["key.unique"]
    assert result.blocked


def test_a_missing_column_fails_and_hidden_columns_may_be_missing() -> None:
    increment = valid("customers", 2)
    published = increment.drop_columns(
        [c.name for c in contract.load("customers").columns if c.classification == "pii"]
    )
    assert run.check("customers", published).success
    broken = run.check("customers", published.drop_columns(["country"]))
    assert [o.name for o in broken.failures] == ["columns.present"]
    assert broken.blocked


def test_personal_data_is_masked_in_samples_and_documents() -> None:
    secret = "mallory at example.org"
    result = run.check("customers", table("customers", row("customers", 2, email=secret)))
    (failure,) = result.failures
    assert failure.name == "email.pattern"
    assert failure.sample == ({"customer_id": row("customers", 2)["customer_id"], "email": MASKED},)
    assert secret not in str(result.document)
    assert secret not in str(result)


def test_personal_data_is_masked_where_a_condition_reads_it() -> None:
    result = run.check("customers", table("customers", row("customers", 2, email_index=None)))
    (failure,) = result.failures
    assert failure.name == "sealed_email_can_be_found"
    assert failure.sample[0]["email"] == MASKED


def test_an_empty_increment_passes_and_says_that_nothing_was_evaluated() -> None:
    result = run.check("payments", valid("payments", 0))
    assert (result.success, result.blocked, result.rows) == (True, False, 0)
    assert str(result) == "silver.payments: passed, 0 rows to evaluate"


def test_deleted_rows_are_not_judged() -> None:
    gone = row("payments", 2, due_date=None, status=None, _is_deleted=True)
    result = run.check("payments", table("payments", row("payments", 1), gone))
    assert (result.success, result.rows) == (True, 1)
    assert run.check("payments", table("payments", gone)).rows == 0


def test_a_frame_is_judged_like_a_table() -> None:
    frame = table("cards", row("cards", 1, status="BURNED")).to_pandas()
    assert [o.name for o in run.check("cards", frame).failures] == ["status.code"]


def test_large_amounts_are_not_rounded_by_nulls_beside_them() -> None:
    large = 9_007_199_254_740_993
    rows = [row("authorizations", 1, available_minor=large),
            row("authorizations", 2, available_minor=None)]  # fmt: skip
    from expectations.frames import live_rows

    assert live_rows(table("authorizations", *rows))["available_minor"][0] == large


def test_a_rule_that_cannot_be_evaluated_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of another type than the contract's: nobody can say that the rule holds."""
    increment = valid("payments", 2)
    place = increment.schema.get_field_index("paid_amount_minor")
    texts = increment.set_column(place, "paid_amount_minor", pa.array(["0", "x"]))
    result = run.check("payments", texts)
    assert result.blocked
    assert all(o.error for o in result.failures if o.name == "not_paid_twice")
