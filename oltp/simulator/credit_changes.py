"""Live changes of applications, offers and credits; money moves by the ledger's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from oltp import schedule
from oltp.simulator import offering
from oltp.simulator.scene import Scene

# The scale of a rate, in its column and in its event.
RATE = Decimal("0.000001")


def payment(scene: Scene) -> int:
    """A customer pays the oldest open instalment of a credit; the last one ends it."""
    return _pay(scene, is_whole=True)


def partial_payment(scene: Scene) -> int:
    """A customer pays half of what is open of the oldest instalment."""
    return _pay(scene, is_whole=False)


def _pay(scene: Scene, is_whole: bool) -> int:
    credit = scene.any(
        "select credit_id from credit.active_credits"
        " where status in ('CURRENT', 'DELINQUENT') and source_status is null order by credit_id"
    )
    row = credit and scene.one(
        "select c.customer_id, c.currency, p.payment_id, p.principal_minor, p.interest_minor,"
        " p.paid_amount_minor, p.fees_minor - p.fees_paid_minor"
        " from credit.active_credits c join credit.payments p using (credit_id)"
        " where c.credit_id = %s and p.status in ('SCHEDULED', 'PARTIAL')"
        " order by p.installment_number limit 1 for no key update of c",
        credit,
    )
    if not row:
        return 0
    customer, currency, payment_id, principal, interest, paid, fees = row
    open_minor = principal + interest - paid + fees
    amount = open_minor if is_whole else open_minor // 2
    if amount <= 0:
        return 0
    fee = min(amount, fees)
    for_interest = min(amount - fee, max(0, interest - paid))
    for_principal = amount - fee - for_interest
    key = f"sim:{uuid4()}"
    entry = scene.one(
        "select ledger.repay(%s, %s, %s, %s, %s)", credit, for_principal, for_interest, fee, key
    )
    receipt = uuid4()
    scene.do(
        "insert into credit.payment_receipts (payment_receipt_id, credit_id, amount_minor,"
        " currency, method, received_at, principal_minor, interest_minor, fees_minor,"
        " external_ref, entry_id) values (%s, %s, %s, %s, 'DIRECT_DEBIT', now(), %s, %s, %s, %s,"
        " %s)",
        receipt, credit, amount, currency, for_principal, for_interest, fee, key,
        entry[0] if entry else None,
    )  # fmt: skip
    scene.do(
        "insert into credit.receipt_allocations (receipt_allocation_id, payment_receipt_id,"
        " payment_id, principal_minor, interest_minor, fees_minor)"
        " values (gen_random_uuid(), %s, %s, %s, %s, %s)",
        receipt, payment_id, for_principal, for_interest, fee,
    )  # fmt: skip
    scene.do(
        "update credit.payments set paid_amount_minor = paid_amount_minor + %s,"
        " fees_paid_minor = fees_paid_minor + %s, status = %s, paid_at = now(),"
        " updated_at = now() where payment_id = %s",
        amount - fee, fee, "PAID" if is_whole else "PARTIAL", payment_id,
    )  # fmt: skip
    _standing(scene, credit)
    scene.announce(
        "payment.received", receipt, credit_id=str(credit), customer_id=str(customer),
        amount_minor=amount, currency=currency, received_at=datetime.now(UTC),
    )  # fmt: skip
    return 1


def _standing(scene: Scene, credit: UUID) -> None:
    """A credit without open instalments is paid off; one without late ones is current again."""
    row = scene.one(
        "update credit.active_credits c set updated_at = now(), status = case"
        " when o.open = 0 then 'PAID_OFF' when o.oldest >= current_date then 'CURRENT'"
        " else c.status end, closed_on = case when o.open = 0 then greatest(current_date,"
        " disbursed_on) end from (select count(*) as open, min(due_date) as oldest"
        " from credit.payments where credit_id = %s and status in ('SCHEDULED', 'PARTIAL')) o"
        " where c.credit_id = %s returning c.status, c.customer_id, c.currency, c.closed_on",
        credit, credit,
    )  # fmt: skip
    if row and row[0] == "PAID_OFF":
        scene.announce(
            "credit.paid_off", credit, customer_id=str(row[1]), currency=row[2], paid_off_on=row[3]
        )


def application_submitted(scene: Scene) -> int:
    """A customer applies for credit; the event leaves with the row."""
    found = scene.any(
        "select customer_id from customer.customers where external_ref like 'sim:%%'"
        " and status = 'ACTIVE' order by customer_id"
    )
    if found is None:
        return 0
    application, now = uuid4(), datetime.now(UTC)
    what = {
        "customer_id": found,
        "requested_amount_minor": scene.chance.randint(1, 40) * 100_000,
        "currency": "USD",
        "term_months": scene.chance.choice((12, 24, 36)),
        "purpose": "car",
        "submitted_at": now,
    }
    added = scene.add(
        "credit.applications",
        {
            "application_id": application,
            "application_number": f"L-{application}",
            "status": "SUBMITTED",
            "completed_at": now,
            **what,
        },
    )
    scene.announce("application.submitted", application, **{**what, "customer_id": str(found)})
    return added


def application_withdrawn(scene: Scene) -> int:
    """A customer takes an open application back."""
    application = scene.any(
        "select application_id from credit.applications where status = 'SUBMITTED'"
        " order by application_id"
    )
    row = application and scene.one(
        "update credit.applications set status = 'WITHDRAWN', decided_at = now(),"
        " updated_at = now() where application_id = %s and status = 'SUBMITTED'"
        " and submitted_at <= now() returning customer_id",
        application,
    )
    if not row:
        return 0
    scene.announce("application.withdrawn", application, customer_id=str(row[0]), reason=None)
    return 1


def offers_made(scene: Scene) -> int:
    """Providers answer an application; without an offer it stays as it is."""
    application = scene.any(
        "select application_id from credit.applications where status = 'SUBMITTED'"
        " and submitted_at <= now() order by application_id"
    )
    row = application and scene.one(
        "select customer_id, requested_amount_minor, term_months, currency from credit.applications"
        " where application_id = %s and status = 'SUBMITTED' for no key update",
        application,
    )
    known = {r[0].hex for r in scene.connection.execute("select provider_id from"
             " provider.providers").fetchall()}  # fmt: skip
    if not row:
        return 0
    customer, amount, months, currency = row
    made = [
        terms
        for terms in offering.offers(scene.chance, 80, amount, months, datetime.now(UTC).date())
        if terms.provider.id in known
    ]
    if not made:
        return 0
    scene.do("update credit.applications set status = 'APPROVED', decided_at = now(),"
             " completed_at = coalesce(completed_at, now()), updated_at = now()"
             " where application_id = %s", application)  # fmt: skip
    scene.announce(
        "application.decided", application, customer_id=str(customer), decision="APPROVED",
        reasons=[], rule_version=None,
    )  # fmt: skip
    for terms in made:
        _present(scene, application, terms, currency)
    return len(made)


def _present(scene: Scene, application: UUID, terms: offering.Terms, currency: str) -> None:
    """One provider's offer, as a row and as an event."""
    offer = uuid4()
    shown = {
        "application_id": application,
        "provider_id": terms.provider.id,
        "amount_minor": terms.amount_minor,
        "currency": currency,
        "interest_rate": terms.rate.quantize(RATE),
        "apr": terms.apr,
        "term_months": terms.months,
        "monthly_payment_minor": terms.payment_minor,
        "valid_until": datetime.now(UTC) + timedelta(days=30),
    }
    scene.add(
        "credit.offers",
        {
            "offer_id": offer,
            "provider": terms.provider.name,
            "total_repayment_minor": terms.total_minor,
            "status": "PRESENTED",
            **shown,
        },
    )
    scene.announce("offer.presented", offer, **{**shown, "application_id": str(application)})


def offer_accepted(scene: Scene) -> int:
    """A customer takes an offer: it is paid out at once, the others are declined."""
    offer = scene.any(
        "select offer_id from credit.offers o where status = 'PRESENTED' and valid_until > now()"
        " and not exists (select from credit.offers x where x.application_id = o.application_id"
        " and x.status = 'ACCEPTED') order by offer_id"
    )
    row = offer and scene.one(
        "select a.application_id, a.customer_id, o.provider_id, o.amount_minor, o.currency,"
        " o.interest_rate, o.term_months, o.monthly_payment_minor from credit.offers o"
        " join credit.applications a using (application_id)"
        " where o.offer_id = %s and o.status = 'PRESENTED' for no key update of a, o",
        offer,
    )
    if not row:
        return 0
    application, customer, provider, amount, currency, rate, months, payment_minor = row
    _decline_others(scene, application, customer, offer)
    scene.do("update credit.offers set status = 'ACCEPTED', accepted_at = now(),"
             " updated_at = now() where offer_id = %s", offer)  # fmt: skip
    today = datetime.now(UTC).date()
    instalments = schedule.annuity(amount, rate, months, today)
    credit = uuid4()
    scene.add(
        "credit.active_credits",
        {
            "credit_id": credit,
            "customer_id": customer,
            "offer_id": offer,
            "credit_number": f"L-{credit}",
            "principal_minor": amount,
            "currency": currency,
            "interest_rate": rate,
            "term_months": months,
            "monthly_payment_minor": payment_minor,
            "status": "CURRENT",
            "disbursed_on": today,
            "matures_on": instalments[-1].due_date,
        },
    )
    _schedule(scene, credit, instalments, currency)
    scene.one("select ledger.disburse(%s, %s)", credit, f"sim:{credit}")
    scene.do(
        "insert into credit.credit_events (credit_event_id, credit_id, event_type, effective_on,"
        " occurred_at, amount_minor, currency)"
        " values (gen_random_uuid(), %s, 'DISBURSED', %s, now(), %s, %s)",
        credit, today, amount, currency,
    )  # fmt: skip
    scene.announce(
        "offer.accepted", offer, application_id=str(application), customer_id=str(customer),
        provider_id=str(provider), amount_minor=amount, currency=currency,
    )  # fmt: skip
    scene.announce(
        "credit.disbursed", credit, customer_id=str(customer), offer_id=str(offer),
        principal_minor=amount, currency=currency, interest_rate=rate, term_months=months,
        disbursed_on=today, matures_on=instalments[-1].due_date,
    )  # fmt: skip
    return 1


def _schedule(
    scene: Scene, credit: UUID, instalments: Sequence[schedule.Instalment], currency: str
) -> None:
    """What is due when."""
    for instalment in instalments:
        scene.add(
            "credit.payments",
            {
                "payment_id": uuid4(),
                "credit_id": credit,
                "installment_number": instalment.number,
                "due_date": instalment.due_date,
                "due_amount_minor": instalment.due_minor,
                "principal_minor": instalment.principal_minor,
                "interest_minor": instalment.interest_minor,
                "currency": currency,
            },
        )


def _decline_others(scene: Scene, application: UUID, customer: UUID, taken: UUID) -> None:
    """An application is financed once: what else was offered for it is declined."""
    declined = scene.connection.execute(
        "update credit.offers set status = 'DECLINED', declined_at = now(), updated_at = now()"
        " where application_id = %s and status = 'PRESENTED' and offer_id <> %s"
        " returning offer_id, provider_id",
        (application, taken),
    ).fetchall()
    for offer, provider in declined:
        scene.announce(
            "offer.declined", offer, application_id=str(application), customer_id=str(customer),
            provider_id=str(provider), reason=None,
        )  # fmt: skip
