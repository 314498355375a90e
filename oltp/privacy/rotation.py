"""Changes keys under running data: wraps data keys anew, computes blind indexes anew.

Both go in short transactions, in order of the customer's id, and do only what is still to do:
broken off and run again, they go on where they were. Run as a member of key_keeper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg

from oltp.privacy.person import INDEXED
from oltp.privacy.vault import Vault

BATCH = 500
FIRST = UUID(int=0)
# Called with how many are done, and how many there were to do.
Progress = Callable[[int, int], None]


def rewrap(dsn: str, vault: Vault, progress: Progress = lambda done, total: None) -> int:
    """Wrap every data key by the vault's current key; how many were not yet.

    Afterwards older keys are needed no more. Raises KeyMissingError when one still is and is gone.
    """
    current = vault.current_version
    with psycopg.connect(dsn) as connection:
        connection.execute("set role key_keeper")
        (total,) = connection.execute(
            "select count(*) from customer.subject_keys"
            " where wrapped_key is not null and kek_version <> %s",
            (current,),
        ).fetchone() or (0,)
        connection.commit()
        done = 0
        while True:
            rows = connection.execute(
                "select customer_id, wrapped_key, kek_version from customer.subject_keys"
                " where wrapped_key is not null and kek_version <> %s"
                " order by customer_id limit %s for update",
                (current, BATCH),
            ).fetchall()
            if not rows:
                return done
            rewrapped = [(*vault.rewrapped(*row), row[0]) for row in rows]
            with connection.cursor() as cursor:
                cursor.executemany(
                    "update customer.subject_keys"
                    " set wrapped_key = %s, kek_version = %s, rotated_at = now()"
                    " where customer_id = %s",
                    rewrapped,
                )
            connection.commit()
            done += len(rows)
            progress(done, total)


def reindex(dsn: str, vault: Vault, progress: Progress = lambda done, total: None) -> int:
    """Compute the blind indexes by the vault's index key; how many customers changed.

    Opens each indexed value, which the audit learns first: one row a customer and field.
    """
    with psycopg.connect(dsn) as connection:
        connection.execute("set role key_keeper")
        (total,) = connection.execute(
            "select count(*) from customer.subject_keys where wrapped_key is not null"
        ).fetchone() or (0,)
        connection.commit()
        done = changed = 0
        after = FIRST
        while True:
            rows = connection.execute(
                "select c.customer_id, k.wrapped_key, k.kek_version, c.email, c.phone,"
                " c.national_id, c.email_index, c.phone_index, c.national_id_index"
                " from customer.customers c join customer.subject_keys k using (customer_id)"
                " where k.wrapped_key is not null and c.customer_id > %s"
                " order by c.customer_id limit %s for update of c",
                (after, BATCH),
            ).fetchall()
            if not rows:
                return changed
            connection.execute(
                "insert into audit.pii_access (customer_id, field, purpose, actor, actor_role)"
                " select c, f, 'blind indexes computed anew', session_user, session_user"
                " from unnest(%s::uuid[]) c, unnest(%s::text[]) f",
                ([row[0] for row in rows], list(INDEXED)),
            )
            changed += _write(connection, vault, rows)
            connection.commit()
            done += len(rows)
            after = rows[-1][0]
            progress(done, total)


def _write(connection: psycopg.Connection, vault: Vault, rows: list[tuple[Any, ...]]) -> int:
    changes = []
    for customer_id, wrapped_key, version, *values in rows:
        subject = vault.open_subject(customer_id, wrapped_key, version)
        tokens, before = values[: len(INDEXED)], values[len(INDEXED) :]
        after = [
            None if token is None else vault.blind_index(field, subject.open(field, token))
            for field, token in zip(INDEXED, tokens, strict=True)
        ]
        if after != before:
            changes.append((*after, customer_id))
    with connection.cursor() as cursor:
        cursor.executemany(
            "update customer.customers set email_index = %s, phone_index = %s,"
            " national_id_index = %s, updated_at = now() where customer_id = %s",
            changes,
        )
    return len(changes)
