"""Asks Postgres about a slot: one query, so that all of it is of one moment."""

from __future__ import annotations

import psycopg

from pipelines.capture.judging import Facts

SLOT = "millrace"

_QUERY = """
select
    clock_timestamp() as seen_at,
    (select system_identifier from pg_control_system()) as system_identifier,
    -- The name of the segment says the timeline at once; the control file only after a checkpoint.
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as timeline,
    pg_postmaster_start_time() as started_at,
    -- What no crash takes back: behind it the log never ends.
    pg_current_wal_flush_lsn() - '0/0' as current_lsn,
    s.slot_name is not null as is_there,
    s.plugin,
    s.database,
    coalesce(s.active, false) as is_active,
    s.wal_status,
    s.restart_lsn - '0/0' as restart_lsn,
    s.confirmed_flush_lsn - '0/0' as confirmed_lsn,
    s.safe_wal_size as safe_bytes,
    (select nullif(setting::bigint, -1) * 1048576 from pg_settings
     where name = 'max_slot_wal_keep_size') as limit_bytes,
    c.total_txns as decoded_transactions,
    c.stats_reset as counted_since
from (values (%(slot)s::name)) as wanted (slot)
left join pg_replication_slots s on s.slot_name = wanted.slot
left join pg_stat_replication_slots c on c.slot_name = wanted.slot::text
"""


def facts(admin_dsn: str, slot: str = SLOT, stored_lsn: int | None = None) -> Facts:
    """The slot as it is now. `stored_lsn`, when known, is put beside it."""
    with psycopg.connect(admin_dsn, autocommit=True, connect_timeout=5) as connection:
        row = connection.execute(_QUERY, {"slot": slot}).fetchone()
    if row is None:
        raise RuntimeError("the server answered a query that has one row with none")
    seen_at, system_identifier, timeline, started_at, current, exists, plugin, database = row[:8]
    is_active, status, restart, confirmed, safe, limit, decoded, counted_since = row[8:]
    return Facts(
        seen_at=seen_at,
        slot=slot,
        system_identifier=system_identifier,
        timeline=timeline,
        started_at=started_at,
        current_lsn=int(current),
        exists=exists,
        plugin=plugin,
        database=database,
        is_active=is_active,
        wal_status=status,
        restart_lsn=_whole(restart),
        confirmed_lsn=_whole(confirmed),
        safe_bytes=_whole(safe),
        limit_bytes=_whole(limit),
        decoded_transactions=decoded,
        counted_since=counted_since,
        stored_lsn=stored_lsn,
    )


def _whole(number: object) -> int | None:
    return None if number is None else int(str(number))
