"""Every Redis key: one builder each, with its time to live. The only file with key literals.

Braces keep all keys of one entity in one cluster slot. Every key is a copy that can be rebuilt from
the log; a missing one costs a database read, never correctness.
"""

from __future__ import annotations

# Snapshots are refreshed by capture; the time to live only bounds what a lost delete leaves.
SNAPSHOT_TTL_S = 7 * 24 * 3600
# The longest feature window plus a day of slack for late events.
VELOCITY_TTL_S = 8 * 24 * 3600


def card_snapshot(card_id: str) -> str:
    """HASH: the card's row, with the (commit LSN, LSN) it was read at."""
    return f"card:{{{card_id}}}:snapshot"


def account_snapshot(account_id: str) -> str:
    """HASH: the card account's row: limit, posted, held, status."""
    return f"account:{{{account_id}}}:snapshot"


def customer_snapshot(customer_id: str) -> str:
    """HASH: the customer's status and country; no name or address."""
    return f"customer:{{{customer_id}}}:snapshot"


def kyc_snapshot(customer_id: str) -> str:
    """HASH: field = kyc_record_id, value = that record's status and expiry, guarded by LSN each."""
    return f"customer:{{{customer_id}}}:kyc"


def velocity(entity: str, entity_id: str) -> str:
    """ZSET: member = one authorization with its amount and outcome, score = event time in ms."""
    return f"{entity}:{{{entity_id}}}:velocity"


def velocity_meta(entity: str, entity_id: str) -> str:
    """HASH: newest LSN and event time that the velocity set has seen."""
    return f"{entity}:{{{entity_id}}}:velocity_meta"
