"""Opens a person's sealed values as pii_reader: the audit knows of it before the value is known."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import sql

from oltp.privacy.errors import PrivacyError
from oltp.privacy.person import INDEXED, SEALED
from oltp.privacy.vault import Vault


def open_person(
    dsn: str, vault: Vault, customer_id: UUID, fields: Sequence[str], reason: str
) -> dict[str, str | None]:
    """The customer's values in plain. `dsn` logs in as pii_reader.

    One committed audit row a field comes first, also when the opening fails afterwards. Raises
    PrivacyError for an unknown customer or field, no reason, or a destroyed key.
    """
    unknown = sorted(set(fields) - set(SEALED))
    if unknown or not fields:
        raise PrivacyError(f"fields are of {', '.join(SEALED)}; not {', '.join(unknown) or 'none'}")
    if not reason.strip():
        raise PrivacyError("opening personal data needs a reason")
    with psycopg.connect(dsn, autocommit=True) as connection:
        columns = sql.SQL(", ").join(map(sql.Identifier, fields))
        tokens = connection.execute(
            sql.SQL("select {} from customer.customers where customer_id = %s").format(columns),
            (customer_id,),
        ).fetchone()
        if tokens is None:
            raise PrivacyError(f"there is no customer {customer_id}")
        try:
            (request,) = connection.execute(
                "select customer.request_subject_key(%s, %s, %s)",
                (customer_id, list(fields), reason),
            ).fetchone() or (None,)
            key = connection.execute(
                "select * from customer.open_subject_key(%s)", (request,)
            ).fetchone()
        except psycopg.errors.InsufficientPrivilege as refused:
            raise PrivacyError(
                f"no key of {customer_id} is handed out: {refused.diag.message_primary}"
            ) from None
    if key is None:
        raise PrivacyError(f"customer {customer_id} has no key")
    subject = vault.open_subject(*key)
    return {
        field: None if token is None else subject.open(field, token)
        for field, token in zip(fields, tokens, strict=True)
    }


def find(dsn: str, vault: Vault, field: str, value: str) -> list[tuple[UUID, str, str, str]]:
    """Customers with that value, by its blind index: id, status, masked email, masked phone."""
    if field not in INDEXED:
        raise PrivacyError(f"customers are found by {', '.join(INDEXED)}; not by {field}")
    index = sql.Identifier(f"{field}_index")
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            sql.SQL(
                "select customer_id, status, coalesce(email_masked, ''), coalesce(phone_masked, '')"
                " from customer.customers where {} = %s order by customer_id"
            ).format(index),
            (vault.blind_index(field, value),),
        ).fetchall()
