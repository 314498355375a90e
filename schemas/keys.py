"""Every Redis key: one builder each, with its time to live. The only file with key literals.

Braces keep all keys of one entity in one cluster slot. Every key is a copy that can be rebuilt from
the log; a missing one costs a database read, never correctness.
"""

from __future__ import annotations

# Snapshots are refreshed by capture; the time to live only bounds what a lost delete leaves.
SNAPSHOT_TTL_S = 7 * 24 * 3600
# What decisions remember of a card reaches back a day.
HISTORY_TTL_S = 24 * 3600
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


def card_history(card_id: str) -> str:
    """STRING: what the card did in the last day, with the number of decisions that tells of."""
    return f"card:{{{card_id}}}:history"


# --- after a restart of Redis ---------------------------------------------------------------------

# What Redis had on disk may be older than what it once said: a change that was told to it meanwhile
# is told by nobody again. These copies have no number or epoch of their own to be found out by.
UNFENCED = ("*:snapshot", "*:kyc")


def copies_run() -> str:
    """STRING: the run of Redis that the unfenced copies were made in."""
    return "copies:run"


# --- stand-in: what may be approved while nobody can decide ---------------------------------------

# A repeat of a request that stood in comes within seconds; the gateway's journal remembers longer.
STAND_IN_TOLD_TTL_S = 15 * 60
# Open stand-ins end when their advice has been applied; this only bounds what a lost one leaves.
STAND_INS_TTL_S = 24 * 3600


def epoch() -> str:
    """HASH: which run of Redis (run_id) has complete stand-in copies, and of which epoch."""
    return "epoch"


def epoch_builder() -> str:
    """STRING: who rebuilds the stand-in copies now; one at a time."""
    return "epoch:builder"


def stand_in_copy(entity: str, entity_id: str) -> str:
    """HASH: what stand-in must know of a card, account, customer or program, with its epoch."""
    return f"{entity}:{{{entity_id}}}:stand_in"


def stand_ins(entity: str, entity_id: str) -> str:
    """HASH: field = idempotency key of an approval by stand-in that Postgres may not know yet."""
    return f"{entity}:{{{entity_id}}}:stand_ins"


def stand_in_told(idempotency_key: str) -> str:
    """STRING: what stand-in told for the key, so that another gateway tells the same."""
    return f"stand_in:{{{idempotency_key}}}:told"
