"""Live changes of customers: profiles, papers that run out, and leaving."""

from __future__ import annotations

from uuid import UUID

from oltp.privacy import sealed_person
from oltp.simulator.scene import Scene


def profile_updated(scene: Scene) -> int:
    """A customer has a new address for mail, or without the keys for it just another city."""
    customer = scene.any(
        "select customer_id from customer.customers where external_ref like 'sim:%%'"
        " order by customer_id"
    )
    if customer is None:
        return 0
    changed = _new_email(scene, customer) or scene.do(
        "update customer.addresses set city = %s, updated_at = now()"
        " where customer_id = %s and is_primary",
        scene.chance.choice(("Leeds", "Lyon", "Austin", "Osaka", "Leipzig")), customer,
    )  # fmt: skip
    if changed:
        fields = ["email"] if scene.vault else ["city"]
        scene.announce("customer.updated", customer, changed_fields=fields)
    return changed


def _new_email(scene: Scene, customer: UUID) -> int:
    """Sealed under the key that the simulator can make again from seed and number."""
    row = scene.one("select external_ref from customer.customers where customer_id = %s", customer)
    if scene.vault is None or row is None:
        return 0
    _, seed, _, number, _ = row[0].split(":")
    key = scene.vault.derived_data_key(f"{seed}/{number}")
    subject = scene.vault.new_subject(customer, key)
    email = f"new.{seed}.{number}.{scene.chance.randrange(10**6)}@example.com"
    sealed = sealed_person(scene.vault, subject, email=email)
    return scene.do(
        "update customer.customers set email = %s, email_masked = %s, email_index = %s,"
        " updated_at = now() where customer_id = %s",
        sealed["email"], sealed["email_masked"], sealed["email_index"], customer,
    )  # fmt: skip


def kyc_expired(scene: Scene) -> int:
    """A check runs out now."""
    record = scene.any(
        "select kyc_record_id from kyc.kyc_records"
        " where status = 'VERIFIED' and expires_at > now() and verified_at < now()"
        " order by kyc_record_id"
    )
    return scene.do(
        "update kyc.kyc_records set expires_at = now(), updated_at = now()"
        " where kyc_record_id = %s",
        record,
    )


def document_expired(scene: Scene) -> int:
    """A passport or licence runs out today."""
    document = scene.any(
        "select document_id from customer.documents"
        " where status = 'VERIFIED' and expires_on is not null order by document_id"
    )
    row = document and scene.one(
        "update customer.documents set status = 'EXPIRED', updated_at = now(),"
        " expires_on = least(expires_on, current_date) where document_id = %s"
        " returning customer_id, document_type, expires_on",
        document,
    )
    if not row:
        return 0
    scene.announce(
        "document.expired", document,
        customer_id=str(row[0]), document_type=row[1], expired_on=row[2],
    )  # fmt: skip
    return 1


def customer_left(scene: Scene) -> int:
    """Somebody who owes nothing closes everything."""
    customer = scene.any(
        "select customer_id from customer.customers u where status = 'ACTIVE'"
        " and external_ref like 'sim:%%'"
        " and not exists (select from card.card_accounts a where a.customer_id = u.customer_id"
        " and (a.posted_minor <> 0 or a.held_minor <> 0))"
        " and not exists (select from credit.active_credits c"
        " where c.customer_id = u.customer_id and c.status in ('CURRENT', 'DELINQUENT'))"
        " order by customer_id limit 100"
    )
    if customer is None:
        return 0
    # The accounts first, as everybody locks them: what was approved meanwhile is seen.
    busy = scene.connection.execute(
        "select posted_minor, held_minor from card.card_accounts where customer_id = %s"
        " order by account_id for no key update",
        (customer,),
    ).fetchall()
    if any(posted or held for posted, held in busy):
        return 0
    scene.do("update card.cards set status = 'CLOSED', updated_at = now() where status <> 'CLOSED'"
             " and account_id in (select account_id from card.card_accounts"
             " where customer_id = %s)", customer)  # fmt: skip
    scene.do("update card.card_accounts set status = 'CLOSED', updated_at = now()"
             " where customer_id = %s", customer)  # fmt: skip
    scene.do("update customer.permissions set revoked_at = now(), updated_at = now()"
             " where customer_id = %s and revoked_at is null", customer)  # fmt: skip
    changed = scene.do("update customer.customers set status = 'CLOSED', closed_at = now(),"
                       " updated_at = now() where customer_id = %s", customer)  # fmt: skip
    scene.announce("customer.closed", customer, reason="wished to leave")
    return changed
