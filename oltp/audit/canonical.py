"""What exactly is hashed: every field of a change, as canonical JSON, after the hash before it.

The text is an array of all columns in the order of FIELDS; `jsonb` values have one spelling (keys
in one order, one spacing, numbers as stored), and sealer and verifier connect with OPTIONS, so that
times and bytes have one as well. The expression is kept here and not as a function in the database:
who can rewrite the audit there could rewrite the function too.
"""

from __future__ import annotations

import hashlib
from typing import LiteralString

import psycopg

FORMAT = 1  # of entries and checkpoints; a new column of audit.changes makes a new one
GENESIS = bytes(32)
OPTIONS = "-c timezone=UTC -c datestyle=ISO -c bytea_output=hex -c intervalstyle=postgres"

# All columns of audit.changes (a test compares).
FIELDS: tuple[LiteralString, ...] = (
    "change_id", "txid", "occurred_at", "table_schema", "table_name", "operation", "batch_of",
    "row_key", "old_values", "new_values", "changed_fields", "row_count", "digest", "actor",
    "acting_as", "actor_role", "client_ip", "client_ip_said", "user_agent", "correlation_id",
    "reason", "severity", "compliance_category",
)  # fmt: skip
# Of the row called `c`.
CHANGE: LiteralString = f"json_build_array({', '.join([f'c.{name}' for name in FIELDS])})"


def link(previous: bytes, seq: int, change: str) -> bytes:
    """The hash of entry `seq`: SHA-256 over the previous hash, the entry's length and the entry."""
    entry = b'{"seq": %d, "change": %s}' % (seq, change.encode())
    return hashlib.sha256(b"%b%b%b" % (previous, len(entry).to_bytes(8, "big"), entry)).digest()


def connect(dsn: str, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection whose times and bytes are spelt as they are hashed."""
    return psycopg.connect(dsn, options=OPTIONS, connect_timeout=5, autocommit=autocommit)
