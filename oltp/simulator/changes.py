"""What else happens in the operational database while cards are swiped, a change at a time."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import LiteralString, Self
from uuid import UUID, uuid4

import psycopg

from oltp import copying
from oltp.simulator import outbox

Change = Callable[[psycopg.Connection, random.Random], int]
MISSED = "missed"


class Changes:
    """A thread that makes changes at a rate for as long as the block it is used in lasts."""

    def __init__(self, dsn: str, seed: int, per_s: float) -> None:
        self._dsn = dsn
        self._chance = random.Random(f"{seed}/changes")
        self._per_s = per_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.made: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self._per_s > 0:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._per_s > 0:
            self._thread.join()

    def _run(self) -> None:
        """Rows that another transaction has may be missed; the next change tries others."""
        names, weights = tuple(KINDS), tuple(weight for _, weight in KINDS.values())
        while not self._over.wait(1 / self._per_s):
            name = self._chance.choices(names, weights)[0]
            try:
                with psycopg.connect(self._dsn) as connection:
                    changed = KINDS[name][0](connection, self._chance)
            except psycopg.Error:
                self.made[MISSED] += 1
                continue
            if changed:
                self.made[name] += 1


def payment(connection: psycopg.Connection, chance: random.Random) -> int:
    """A customer pays the oldest open instalment of a credit; the last one ends it."""
    credit = _any(
        connection,
        chance,
        "select credit_id from credit.active_credits"
        " where status in ('CURRENT', 'DELINQUENT') and source_status is null order by credit_id",
    )
    if credit is None:
        return 0
    connection.execute(
        "select from credit.active_credits where credit_id = %s for no key update", (credit,)
    )
    row = connection.execute(
        "with due as (select payment_id, paid_amount_minor as before, principal_minor,"
        " interest_minor from credit.payments where credit_id = %s and status <> 'PAID'"
        " order by installment_number limit 1)"
        " update credit.payments p set paid_amount_minor = p.due_amount_minor, status = 'PAID',"
        " paid_at = now(), updated_at = now() from due where p.payment_id = due.payment_id"
        " returning due.principal_minor - greatest(0, due.before - due.interest_minor)",
        (credit,),
    ).fetchone()
    if row is None:
        return 0
    return connection.execute(
        "update credit.active_credits set updated_at = now(),"
        " outstanding_principal_minor = outstanding_principal_minor - %(paid)s,"
        " status = case when outstanding_principal_minor = %(paid)s then 'PAID_OFF' else status end"
        " where credit_id = %(credit)s",
        {"paid": row[0], "credit": credit},
    ).rowcount


def profile_updated(connection: psycopg.Connection, chance: random.Random) -> int:
    """A customer has a new address for mail."""
    customer = _any(
        connection,
        chance,
        "select customer_id from customer.customers where external_ref like 'sim:%'"
        " order by customer_id",
    )
    return connection.execute(
        "update customer.customers set email = %s, updated_at = now() where customer_id = %s",
        (f"new.{chance.randrange(10**6)}@example.com", customer),
    ).rowcount


def kyc_expired(connection: psycopg.Connection, chance: random.Random) -> int:
    """A check runs out now."""
    record = _any(
        connection,
        chance,
        "select kyc_record_id from kyc.kyc_records"
        " where status = 'VERIFIED' and expires_at > now() order by kyc_record_id",
    )
    return connection.execute(
        "update kyc.kyc_records set expires_at = now(), updated_at = now()"
        " where kyc_record_id = %s",
        (record,),
    ).rowcount


def application_submitted(connection: psycopg.Connection, chance: random.Random) -> int:
    """A customer applies for credit; the event leaves through the outbox."""
    customer = _any(
        connection,
        chance,
        "select customer_id from customer.customers where external_ref like 'sim:%'"
        " and status = 'ACTIVE' order by customer_id",
    )
    application_id = uuid4()
    row = {
        "application_id": application_id,
        "customer_id": customer,
        "application_number": f"L-{application_id}",
        "requested_amount_minor": chance.randint(1, 40) * 100_000,
        "currency": "USD",
        "term_months": chance.choice((12, 24, 36)),
        "purpose": "car",
        "status": "SUBMITTED",
        "submitted_at": datetime.now(UTC),
    }
    outbox.announce(connection, [row])
    return copying.add(connection, "credit.applications", [row])


def application_withdrawn(connection: psycopg.Connection, chance: random.Random) -> int:
    """A customer takes an open application back."""
    application = _any(
        connection,
        chance,
        "select application_id from credit.applications where status = 'SUBMITTED'"
        " order by application_id",
    )
    return connection.execute(
        "update credit.applications set status = 'WITHDRAWN', decided_at = now(),"
        " updated_at = now() where application_id = %s",
        (application,),
    ).rowcount


def card_blocked(connection: psycopg.Connection, chance: random.Random) -> int:
    """A customer blocks a card."""
    card = _any(
        connection,
        chance,
        "select card_id from card.cards where status = 'ACTIVE' and external_ref like 'sim:%'"
        " order by card_id",
    )
    return connection.execute(
        "update card.cards set status = 'BLOCKED', updated_at = now() where card_id = %s", (card,)
    ).rowcount


def card_deleted(connection: psycopg.Connection, chance: random.Random) -> int:
    """A card that was never used is removed; its id is unknown from now on."""
    card = _any(
        connection,
        chance,
        "select card_id from card.cards c where external_ref like 'sim:%'"
        " and not exists (select from card.card_spend s where s.card_id = c.card_id)"
        " and not exists (select from card.authorizations a where a.card_id = c.card_id)"
        " order by card_id",
    )
    return connection.execute("delete from card.cards where card_id = %s", (card,)).rowcount


def hold_captured(connection: psycopg.Connection, chance: random.Random) -> int:
    """A merchant settles: the hold becomes a posted purchase, in one transaction."""
    return _end_hold(connection, chance, "CAPTURED")


def hold_reversed(connection: psycopg.Connection, chance: random.Random) -> int:
    """A merchant lets a hold go."""
    return _end_hold(connection, chance, "REVERSED")


def _end_hold(connection: psycopg.Connection, chance: random.Random, status: str) -> int:
    found = connection.execute(
        "select hold_id, account_id from card.holds where status = 'PENDING'"
        " order by created_at limit 200"
    ).fetchall()
    if not found:
        return 0
    hold_id, account_id = chance.choice(found)
    # The account first, as in card.decide_and_hold: one order of locks, no deadlock.
    connection.execute(
        "select from card.card_accounts where account_id = %s for no key update", (account_id,)
    )
    hold = connection.execute(
        "update card.holds set status = %s, updated_at = now()"
        " where hold_id = %s and status = 'PENDING'"
        " returning authorization_id, amount_minor, currency",
        (status, hold_id),
    ).fetchone()
    if hold is None:
        return 0
    authorization, amount, currency = hold
    moves = [("HOLD_RELEASE", "HELD", "CREDIT")]
    if status == "CAPTURED":
        moves.append(("PURCHASE", "POSTED", "DEBIT"))
    for entry_type, bucket, direction in moves:
        connection.execute(
            "insert into ledger.ledger_entries (entry_id, account_id, authorization_id, entry_type,"
            " bucket, direction, amount_minor, currency, effective_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, now())",
            (
                uuid4(),
                account_id,
                authorization,
                entry_type,
                bucket,
                direction,
                amount,
                currency,
            ),
        )
    posted = amount if status == "CAPTURED" else 0
    return connection.execute(
        "update card.card_accounts set held_minor = held_minor - %s,"
        " posted_minor = posted_minor + %s, updated_at = now() where account_id = %s",
        (amount, posted, account_id),
    ).rowcount


def _any(
    connection: psycopg.Connection, chance: random.Random, query: LiteralString
) -> UUID | None:
    """One of the ids that a query gives."""
    found = connection.execute(query).fetchall()
    return chance.choice(found)[0] if found else None


# How often of a hundred: cards that are blocked or deleted are gone for the rest of the run.
KINDS: dict[str, tuple[Change, int]] = {
    "payment": (payment, 30),
    "hold captured": (hold_captured, 25),
    "hold reversed": (hold_reversed, 8),
    "profile updated": (profile_updated, 15),
    "application submitted": (application_submitted, 9),
    "application withdrawn": (application_withdrawn, 4),
    "card blocked": (card_blocked, 3),
    "card deleted": (card_deleted, 3),
    "KYC expired": (kyc_expired, 3),
}
