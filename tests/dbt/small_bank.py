"""A small bank whose figures can be added up by hand: what the marts are built over in tests."""

from datetime import UTC, datetime, timedelta

import psycopg

from tests.dbt.warehouse import insert, key


def a_small_bank(connection: psycopg.Connection) -> None:
    """Four customers, two accounts, three cards, eight decisions and credits; one deleted row."""
    for number in (1, 2, 3, 4):
        insert(connection, "customers", customer_id=key(number))
    insert(connection, "customers", customer_id=key(9), _is_deleted=True)
    accounts_with_a_ledger(connection)
    authorizations(connection)
    credits_with_instalments(connection)
    for number, expires in ((1, "2027-01-01"), (2, "2026-03-20"), (3, "2026-01-01")):
        insert(connection, "kyc_records", kyc_record_id=key(number), customer_id=key(number),
               status="VERIFIED", verified_at="2026-01-01T00:00:00Z",
               expires_at=f"{expires}T00:00:00Z")  # fmt: skip
    insert(connection, "applications", application_id=key(1), customer_id=key(4),
           requested_amount_minor=5_000_00)  # fmt: skip
    insert(connection, "offers", offer_id=key(1), application_id=key(1), amount_minor=4_000_00)


def accounts_with_a_ledger(connection: psycopg.Connection) -> None:
    insert(connection, "card_accounts", account_id=key(11), customer_id=key(1),
           credit_limit_minor=100_00, posted_minor=28_00, held_minor=38_00)  # fmt: skip
    insert(connection, "card_accounts", account_id=key(12), customer_id=key(2), currency="CZK",
           credit_limit_minor=0, posted_minor=-5_00, held_minor=0,
           external_ref="berka:account:1787")  # fmt: skip
    for number, account in ((1, 11), (2, 12)):
        insert(connection, "account_holders", account_holder_id=key(number),
               account_id=key(account), customer_id=key(number))  # fmt: skip
    for number, account, ref in ((1, 11, None), (2, 11, None), (3, 12, "berka:card:1005")):
        insert(connection, "cards", card_id=key(number), account_id=key(account), external_ref=ref)
    # Hold 2 had 8 of 20 captured and 2 given back: 10 are left. An increment raised hold 1 by 3.
    entries = [
        (11, "PURCHASE", "POSTED", "DEBIT", 25_00, "USD", None),
        (11, "PAYMENT", "POSTED", "CREDIT", 5_00, "USD", None),
        (11, "HOLD", "HELD", "DEBIT", 10_00, "USD", 1),
        (11, "HOLD", "HELD", "DEBIT", 20_00, "USD", 2),
        (11, "HOLD", "HELD", "DEBIT", 15_00, "USD", 7),
        (11, "HOLD", "HELD", "DEBIT", 3_00, "USD", 1),
        (11, "CAPTURE", "HELD", "CREDIT", 8_00, "USD", 2),
        (11, "CAPTURE", "POSTED", "DEBIT", 8_00, "USD", 2),
        (11, "VOID", "HELD", "CREDIT", 2_00, "USD", 2),
        (12, "DEPOSIT", "POSTED", "CREDIT", 5_00, "CZK", None),
        # Credit 7 is given up.
        (7, "CHARGE_OFF", "POSTED", "CREDIT", 90_00, "USD", None),
    ]
    house, other = 99, {"DEBIT": "CREDIT", "CREDIT": "DEBIT"}
    for number, (account, kind, layer, direction, amount, currency, hold) in enumerate(entries):
        insert(connection, "ledger_entries", entry_id=key(number), entry_type=kind,
               hold_id=key(hold) if hold else None)  # fmt: skip
        for side, (moved, way) in enumerate(((account, direction), (house, other[direction]))):
            insert(connection, "ledger_postings", posting_id=key(2 * number + side),
                   entry_id=key(number), ledger_account_id=key(moved), layer=layer, direction=way,
                   amount_minor=amount, currency=currency)  # fmt: skip


def authorizations(connection: psycopg.Connection) -> None:
    """Seven on 14 March, two approved, one in part, one increment; a verification on the 15th."""
    decided = datetime(2026, 3, 14, 12, tzinfo=UTC)
    rows = [
        (1, 10_00, "USD", "APPROVED", "00", "APPROVED", 10),
        (7, 40_00, "USD", "APPROVED", "10", "PARTIALLY_APPROVED", 30),
        (8, 3_00, "USD", "APPROVED", "00", "APPROVED", 30),
        (2, 20_00, "USD", "APPROVED", "00", "APPROVED", 20),
        (3, 70_00, "USD", "DECLINED", "51", "INSUFFICIENT_CREDIT", 30),
        (4, 80_00, "USD", "DECLINED", "51", "INSUFFICIENT_CREDIT", 40),
        (5, 20_00, "USD", "DECLINED", "14", "UNKNOWN_CARD", 50),
        (6, 0, "CZK", "APPROVED", "00", "APPROVED", 5),
    ]
    kinds = {6: "VERIFICATION", 8: "INCREMENT"}
    for number, amount, currency, decision, code, reason, latency_ms in rows:
        at = decided + timedelta(days=1 if currency == "CZK" else 0)
        insert(connection, "authorizations", authorization_id=key(number), card_id=key(number),
               account_id=None if reason == "UNKNOWN_CARD" else key(11), amount_minor=amount,
               currency=currency, decision=decision, response_code=code, reason_code=reason,
               approved_amount_minor=15_00 if code == "10" else None,
               message_kind=kinds.get(number, "PURCHASE"),
               parent_authorization_id=key(1) if number == 8 else None,
               requested_at=at - timedelta(milliseconds=latency_ms), decided_at=at)  # fmt: skip
    for number, amount, captured, status in (
        (1, 13_00, 0, "PENDING"),
        (2, 20_00, 8_00, "PARTIALLY_CAPTURED"),
        (7, 15_00, 0, "PENDING"),
    ):
        insert(connection, "holds", hold_id=key(number), authorization_id=key(number),
               account_id=key(11), amount_minor=amount, captured_amount_minor=captured,
               status=status)  # fmt: skip


def credits_with_instalments(connection: psycopg.Connection) -> None:
    """Pending, 42 days late, paid off, and one imported that was late when observation ended.

    Then customer 2's: one restructured with 350 left and the credit that replaces it, one charged
    off, one paid before its time.
    """
    rows = [
        (1, 1, "USD", 1_000_00, 1_000_00, "CURRENT", None, None, "2026-03-01"),
        (2, 1, "USD", 300_00, 200_00, "DELINQUENT", None, None, "2025-12-01"),
        (3, 2, "USD", 100_00, 0, "PAID_OFF", None, None, "2025-12-01"),
        (4, 2, "CZK", 400_00, 400_00, "DELINQUENT", "D", "1994-03-31", "1993-12-01"),
        (5, 2, "USD", 600_00, 0, "RESTRUCTURED", None, None, "2025-10-01"),
        (6, 2, "USD", 350_00, 350_00, "CURRENT", None, None, "2026-02-20"),
        (7, 2, "USD", 90_00, 0, "CHARGED_OFF", None, None, "2025-08-01"),
        (8, 2, "USD", 100_00, 0, "PAID_OFF", None, None, "2026-01-01"),
    ]
    for number, customer, currency, principal, owed, status, code, observed, disbursed in rows:
        insert(connection, "active_credits", credit_id=key(number), customer_id=key(customer),
               currency=currency, principal_minor=principal, status=status, source_status=code,
               account_id=key(12) if code else None,
               replaces_credit_id=key(5) if number == 6 else None,
               outstanding_principal_minor=owed, observed_through=observed,
               disbursed_on=disbursed)  # fmt: skip
    instalments = [
        (1, "2026-04-01", 340_00, 0, "USD"), (1, "2026-05-01", 340_00, 0, "USD"),
        (1, "2026-06-01", 320_00, 0, "USD"),
        (2, "2026-01-01", 100_00, 100_00, "USD"), (2, "2026-02-01", 100_00, 0, "USD"),
        (2, "2026-03-01", 100_00, 0, "USD"),
        (3, "2026-01-01", 100_00, 100_00, "USD"),
        (4, "1994-01-05", 200_00, 0, "CZK"), (4, "1994-04-05", 200_00, 0, "CZK"),
        (5, "2025-11-01", 200_00, 200_00, "USD"),
        (6, "2026-04-01", 175_00, 0, "USD"), (6, "2026-05-01", 175_00, 0, "USD"),
        (7, "2025-09-01", 90_00, 0, "USD"), (8, "2026-02-01", 52_00, 52_00, "USD"),
    ]  # fmt: skip
    cancelled = [
        (5, "2025-12-01", 200_00, 50_00, "USD"), (5, "2026-01-01", 200_00, 0, "USD"),
        (8, "2026-04-01", 52_00, 50_00, "USD"),
    ]  # fmt: skip
    for number, (credit, due_date, due, paid, currency) in enumerate([*instalments, *cancelled]):
        interest = 2_00 if credit == 8 else 0
        status = "PAID" if paid else "SCHEDULED"
        insert(connection, "payments", payment_id=key(number), credit_id=key(credit),
               installment_number=number + 1, due_date=due_date, due_amount_minor=due,
               principal_minor=due - interest, interest_minor=interest, paid_amount_minor=paid,
               currency=currency, status=status if number < len(instalments) else "CANCELLED",
               paid_at=f"{min(due_date, '2026-03-01')}T00:00:00Z" if paid else None)  # fmt: skip
