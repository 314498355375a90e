"""A small bank whose figures can be added up by hand: what the marts are built over in tests."""

from datetime import UTC, datetime, timedelta

import psycopg

from tests.dbt.warehouse import insert, key


def a_small_bank(connection: psycopg.Connection) -> None:
    """Four customers, two accounts, three cards, six decisions, four credits; one deleted row."""
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
           credit_limit_minor=100_00, posted_minor=20_00, held_minor=30_00)  # fmt: skip
    insert(connection, "card_accounts", account_id=key(12), customer_id=key(2), currency="CZK",
           credit_limit_minor=0, posted_minor=-5_00, held_minor=0,
           external_ref="berka:account:1787")  # fmt: skip
    for number, account in ((1, 11), (2, 12)):
        insert(connection, "account_holders", account_holder_id=key(number),
               account_id=key(account), customer_id=key(number))  # fmt: skip
    for number, account, ref in ((1, 11, None), (2, 11, None), (3, 12, "berka:card:1005")):
        insert(connection, "cards", card_id=key(number), account_id=key(account), external_ref=ref)
    entries = [
        (11, "PURCHASE", "POSTED", "DEBIT", 25_00, "USD", None),
        (11, "PAYMENT", "POSTED", "CREDIT", 5_00, "USD", None),
        (11, "HOLD", "HELD", "DEBIT", 10_00, "USD", 1),
        (11, "HOLD", "HELD", "DEBIT", 20_00, "USD", 2),
        (12, "DEPOSIT", "POSTED", "CREDIT", 5_00, "CZK", None),
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
    """Five on 14 March, two of them approved; one of amount 0 in another currency on the 15th."""
    decided = datetime(2026, 3, 14, 12, tzinfo=UTC)
    rows = [
        (1, 10_00, "USD", "APPROVED", "00", "APPROVED", 10),
        (2, 20_00, "USD", "APPROVED", "00", "APPROVED", 20),
        (3, 70_00, "USD", "DECLINED", "51", "INSUFFICIENT_CREDIT", 30),
        (4, 80_00, "USD", "DECLINED", "51", "INSUFFICIENT_CREDIT", 40),
        (5, 20_00, "USD", "DECLINED", "14", "UNKNOWN_CARD", 50),
        (6, 0, "CZK", "APPROVED", "00", "APPROVED", 5),
    ]
    for number, amount, currency, decision, code, reason, latency_ms in rows:
        at = decided + timedelta(days=1 if currency == "CZK" else 0)
        insert(connection, "authorizations", authorization_id=key(number), card_id=key(number),
               account_id=None if reason == "UNKNOWN_CARD" else key(11), amount_minor=amount,
               currency=currency, decision=decision, response_code=code, reason_code=reason,
               requested_at=at - timedelta(milliseconds=latency_ms), decided_at=at)  # fmt: skip
    for number, amount in ((1, 10_00), (2, 20_00)):
        insert(connection, "holds", hold_id=key(number), authorization_id=key(number),
               account_id=key(11), amount_minor=amount)  # fmt: skip


def credits_with_instalments(connection: psycopg.Connection) -> None:
    """Pending, 42 days late, paid off, and one imported that was late when observation ended."""
    rows = [
        (1, 1, "USD", 1_000_00, 1_000_00, "CURRENT", None, None, "2026-03-01"),
        (2, 1, "USD", 300_00, 200_00, "DELINQUENT", None, None, "2025-12-01"),
        (3, 2, "USD", 100_00, 0, "PAID_OFF", None, None, "2025-12-01"),
        (4, 2, "CZK", 400_00, 400_00, "DELINQUENT", "D", "1994-03-31", "1993-12-01"),
    ]
    for number, customer, currency, principal, owed, status, code, observed, disbursed in rows:
        insert(connection, "active_credits", credit_id=key(number), customer_id=key(customer),
               currency=currency, principal_minor=principal, status=status, source_status=code,
               account_id=key(12) if code else None,
               outstanding_principal_minor=owed, observed_through=observed,
               disbursed_on=disbursed)  # fmt: skip
    instalments = [
        (1, "2026-04-01", 340_00, 0, "USD"), (1, "2026-05-01", 340_00, 0, "USD"),
        (1, "2026-06-01", 320_00, 0, "USD"),
        (2, "2026-01-01", 100_00, 100_00, "USD"), (2, "2026-02-01", 100_00, 0, "USD"),
        (2, "2026-03-01", 100_00, 0, "USD"),
        (3, "2026-01-01", 100_00, 100_00, "USD"),
        (4, "1994-01-05", 200_00, 0, "CZK"), (4, "1994-04-05", 200_00, 0, "CZK"),
    ]  # fmt: skip
    for number, (credit, due_date, due, paid, currency) in enumerate(instalments):
        insert(connection, "payments", payment_id=key(number), credit_id=key(credit),
               installment_number=number + 1, due_date=due_date, due_amount_minor=due,
               principal_minor=due, interest_minor=0, paid_amount_minor=paid, currency=currency,
               status="PAID" if paid else "SCHEDULED",
               paid_at=f"{due_date}T00:00:00Z" if paid else None)  # fmt: skip
