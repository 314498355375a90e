"""Lives from a seed alone: true to the rules of money and time, and with everything life has."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from oltp import schedule
from oltp.simulator import clock, repaying, spending
from oltp.simulator.offering import offers
from oltp.simulator.repaying import Habit
from schemas import codes
from tests.oltp.lives import dicts, lives, values, world

PEOPLE = 260


def test_the_same_seed_makes_the_same_rows_and_more_customers_change_none_of_the_first():
    few, again, next_ones = lives(0, 12), lives(0, 12, 7), lives(3, 12)
    lives.cache_clear()
    assert few is not (fresh := lives(0, 12))
    assert fresh.by_table == few.by_table == again.by_table
    for table, rows in next_ones.by_table.items():
        assert rows == [row for row in few.by_table[table] if row in rows], table
    assert lives(0, 12, 8).by_table["customer.customers"] != few.by_table["customer.customers"]


def test_life_has_everything_that_decisions_and_marts_tell_apart():
    rows = lives(0, PEOPLE)
    expected = {
        ("card.card_accounts", "currency"): {"USD", "EUR", "GBP", "JPY"},
        ("card.card_accounts", "status"): set(codes.AccountStatus),
        ("card.cards", "status"): set(codes.CardStatus),
        ("card.clearings", "kind"): {
            "CLEARING", "OVER_CAPTURE", "LATE_CLEARING", "FORCE_POST", "REFUND",
        },
        ("card.holds", "status"): {"PENDING", "CAPTURED", "REVERSED", "EXPIRED"},
        ("card.disputes", "status"): {"WON", "LOST"},
        ("card.authorizations", "message_kind"): {"PURCHASE", "VERIFICATION", "INCREMENT"},
        ("card.authorizations", "channel"): set(codes.Channel),
        ("credit.active_credits", "status"): set(codes.CreditStatus),
        ("credit.applications", "status"): set(codes.ApplicationStatus),
        ("credit.offers", "status"): set(codes.OfferStatus),
        ("credit.payments", "status"): set(codes.PaymentStatus),
        ("credit.payment_receipts", "status"): {"RECEIVED", "RETURNED"},
        ("credit.provider_quotes", "outcome"): {"OFFERED", "DECLINED", "TIMEOUT", "ERROR"},
        ("customer.customers", "status"): set(codes.CustomerStatus),
        ("customer.documents", "status"): {"PENDING", "VERIFIED", "REJECTED", "EXPIRED"},
        ("kyc.kyc_records", "status"): set(codes.KycStatus),
        ("kyc.onboarding_cases", "case_type"): {
            "INDIVIDUAL", "CORPORATE", "TRUST", "PARTNERSHIP",
        },
        ("kyc.onboarding_cases", "status"): {"APPROVED", "REJECTED", "IN_PROGRESS"},
        ("kyc.checklist_items", "status"): {"PENDING", "COMPLETED", "SKIPPED"},
    }  # fmt: skip
    missing = {
        key: wanted - values(rows, *key)
        for key, wanted in expected.items()
        if not wanted <= values(rows, *key)
    }
    assert missing == {}
    happened = values(rows, "credit.credit_events", "event_type")
    assert happened >= {"DISBURSED", "RESTRUCTURED", "CURED", "CHARGED_OFF", "PAID_OFF"}
    entries = values(rows, "ledger.entries", "entry_type")
    assert entries >= {
        "HOLD", "CAPTURE", "VOID", "EXPIRE", "PURCHASE", "REFUND", "PAYMENT", "INTEREST", "FEE",
        "DISBURSEMENT", "REPAYMENT", "CHARGE_OFF", "RECOVERY", "PROVISIONAL_CREDIT", "CHARGEBACK",
        "CORRECTION",
    }  # fmt: skip


def test_declines_have_many_reasons_and_parts_are_approved():
    reasons = values(lives(0, PEOPLE), "card.authorizations", "reason_code")
    assert reasons >= {
        "APPROVED", "PARTIALLY_APPROVED", "INSUFFICIENT_CREDIT", "CARD_STOLEN", "CARD_NOT_ACTIVE",
        "CURRENCY_NOT_SUPPORTED", "MERCHANT_NOT_ALLOWED", "KYC_NOT_VALID", "VELOCITY_EXCEEDED",
        "COUNT_LIMIT_EXCEEDED", "AMOUNT_LIMIT_EXCEEDED", "ACCOUNT_NOT_ACTIVE",
    }  # fmt: skip


def test_fraud_has_patterns_and_its_truth_is_nowhere_but_in_its_labels():
    rows = lives(0, PEOPLE)
    patterns = values(rows, "card.fraud_labels", "pattern")
    assert patterns >= {
        "CARD_TESTING", "STOLEN_CARD", "ACCOUNT_TAKEOVER", "MERCHANT_COMPROMISE", "BUST_OUT",
    }  # fmt: skip
    labelled = values(rows, "card.fraud_labels", "authorization_id")
    swipes = dicts(rows, "card.authorizations")
    assert 0.0005 < len(labelled) / len(swipes) < 0.05
    for table, made in rows.by_table.items():
        if table != "card.fraud_labels":
            told = [row for row in map(str, made) if any(p in row for p in patterns)]
            assert told == [], table


def test_days_weeks_and_nights_have_their_rhythm():
    moments = [
        datetime.fromisoformat(row["requested_at"])
        for row in dicts(lives(0, PEOPLE), "card.authorizations")
        if row["merchant_country"] == "GB"
    ]
    by_hour, by_weekday = defaultdict(int), defaultdict(int)
    for moment in moments:
        by_hour[moment.hour] += 1
        by_weekday[moment.weekday()] += 1
    assert by_hour[18] > 4 * by_hour[5]
    assert by_weekday[4] > 1.2 * by_weekday[6]


def test_every_entry_adds_up_and_no_approval_passes_the_limit():
    rows = lives(0, PEOPLE)
    sums: dict[tuple, int] = defaultdict(int)
    moved: dict[tuple, int] = defaultdict(int)
    for posting in dicts(rows, "ledger.postings"):
        sign = 1 if posting["direction"] == "DEBIT" else -1
        amount = sign * posting["amount_minor"]
        sums[posting["entry_id"], posting["layer"], posting["currency"]] += amount
        moved[posting["entry_id"], posting["ledger_account_id"]] += amount
    assert set(sums.values()) == {0}
    limits = {r["account_id"]: r["credit_limit_minor"] for r in dicts(rows, "card.card_accounts")}
    of_entry = {entry: account for entry, account in moved if account in limits}
    used: dict[str, int] = defaultdict(int)
    beyond = 0
    for entry in sorted(dicts(rows, "ledger.entries"), key=lambda row: row["created_at"]):
        account = of_entry.get(entry["entry_id"])
        if account is None:
            continue
        amount = moved[entry["entry_id"], account]
        used[account] += amount
        if amount > 0 and used[account] > limits[account]:
            assert entry["over_limit_allowed"], entry
            beyond += 1
    assert beyond > 0


def test_every_hold_ends_once_or_is_still_open_within_its_time():
    rows = lives(0, PEOPLE)
    held: dict[str, int] = defaultdict(int)
    of_entry = {
        row["entry_id"]: row["hold_id"] for row in dicts(rows, "ledger.entries") if row["hold_id"]
    }
    accounts = values(rows, "card.card_accounts", "account_id")
    for posting in dicts(rows, "ledger.postings"):
        if posting["layer"] == "HELD" and posting["ledger_account_id"] in accounts:
            sign = 1 if posting["direction"] == "DEBIT" else -1
            held[of_entry[posting["entry_id"]]] += sign * posting["amount_minor"]
    for hold in dicts(rows, "card.holds"):
        left = held[hold["hold_id"]]
        if hold["status"] in ("PENDING", "PARTIALLY_CAPTURED"):
            assert left > 0
            assert hold["expires_at"] >= str(world().until - timedelta(days=1))
        else:
            assert left == 0, hold


def test_notices_of_refusals_have_their_reasons_and_their_time():
    rows = lives(0, PEOPLE)
    declined = {
        row["application_id"]
        for row in dicts(rows, "credit.applications")
        if row["status"] == "DECLINED"
    }
    notices = dicts(rows, "credit.adverse_action_notices")
    assert {row["application_id"] for row in notices} == declined
    reasons = values(rows, "credit.adverse_action_reasons", "adverse_action_notice_id")
    assert reasons == {row["adverse_action_notice_id"] for row in notices}
    late = [row for row in notices if row["sent_at"] and row["sent_at"][:10] > str(row["due_on"])]
    assert len(late) < len(notices) / 8


def test_credits_agree_with_their_schedules_and_receipts():
    rows = lives(0, PEOPLE)
    payments = defaultdict(list)
    for payment in dicts(rows, "credit.payments"):
        payments[payment["credit_id"]].append(payment)
    repaid: dict[str, int] = defaultdict(int)
    for receipt in dicts(rows, "credit.payment_receipts"):
        repaid[receipt["credit_id"]] += receipt["principal_minor"]
    for credit in dicts(rows, "credit.active_credits"):
        its = payments[credit["credit_id"]]
        assert sum(p["principal_minor"] for p in its) == credit["principal_minor"]
        is_over = {p["status"] for p in its} <= {"PAID", "CANCELLED"}
        assert is_over == (credit["status"] in ("PAID_OFF", "RESTRUCTURED"))
        full = repaid[credit["credit_id"]] == credit["principal_minor"]
        assert full == (credit["status"] in ("PAID_OFF", "RESTRUCTURED"))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1_000, 10**9),
    st.sampled_from(["0", "0.0599", "0.10375", "0.29"]),
    st.integers(2, 60),
    st.sampled_from(list(Habit)),
    st.integers(0, 10**6).map(random.Random),
    st.integers(30, 2_500),
)
def test_whatever_the_habit_money_is_allocated_to_the_last_unit(
    principal, rate, months, habit, chance, days
):
    start = date(2023, 1, 31)
    instalments = schedule.annuity(principal, Decimal(rate), months, start)
    now = clock.at_midnight(start + timedelta(days=days))
    course = repaying.run(instalments, habit, chance, now, late_fee_minor=2_500)
    for standing in course.standings:
        assert 0 <= standing.paid_minor <= standing.due_minor
    if course.prepaid_at:
        course.settle_early(course.prepaid_at)
        assert course.repaid_minor == principal
    assert course.repaid_minor == sum(
        part.principal_minor for receipt in course.receipts for part in receipt.parts
    )
    moments = [receipt.moment for receipt in course.receipts]
    assert moments == sorted(moments)
    assert all(moment < now for moment in moments)
    assert not (course.charged_off_at and course.restructured_at)
    if course.charged_off_at:
        assert course.days_past_due(clock.day_of(course.charged_off_at)) > 120


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6).map(random.Random), st.floats(5, 99), st.integers(3, 60))
def test_offers_agree_with_themselves(chance, score, months):
    for terms in offers(chance, score, 1_000_000, months, date(2025, 5, 31)):
        assert terms.apr >= terms.rate
        assert (terms.apr > terms.rate) == (terms.fee_minor > 0)
        assert sum(i.principal_minor for i in terms.instalments) == terms.amount_minor
        assert terms.payment_minor == schedule.monthly_payment(
            terms.amount_minor, terms.rate, months
        )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6).map(random.Random), st.integers(1, 900))
def test_swipes_are_in_order_and_in_their_time(chance, days):
    first = date(2024, 2, 10)
    last = first + timedelta(days=days)
    holder = spending.Holder(0, "JP", "JPY", 40.0, 1.0)
    found = spending.plan(chance, holder, first, last)
    moments = [swipe.moment for swipe in found]
    assert moments == sorted(moments)
    spare = 14 * clock.HOUR_S
    assert all(clock.at_midnight(first) - spare <= m for m in moments)
    assert all(m < clock.at_midnight(last) + spare for m in moments)
