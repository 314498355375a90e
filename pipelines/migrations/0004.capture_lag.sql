-- What the guard of capture saw: the slot each minute, every table's lag, and each break.
-- depends: 0002.control

-- Positions are bytes of log since the cluster was made, as in control.cuts.
create table control.slot_history (
    slot text not null,
    seen_at timestamptz not null,
    system_identifier numeric(20, 0) not null,
    timeline integer not null,
    started_at timestamptz not null,
    current_lsn bigint not null,
    is_there boolean not null,
    plugin text,
    database text,
    is_active boolean not null,
    wal_status text,
    restart_lsn bigint,
    confirmed_lsn bigint,
    safe_bytes bigint,
    limit_bytes bigint,
    decoded_transactions bigint,
    counted_since timestamptz,
    -- How far Connect had stored that it got; null when it did not answer.
    stored_lsn bigint,
    behind_s double precision not null,
    level text not null check (level in ('ok', 'warning', 'alarm', 'broken')),
    findings text[] not null,
    primary key (slot, seen_at)
);

-- How far each table is complete, and how far that is behind. `waiting` records of it are in Kafka and
-- not yet part of a complete tick; without any the table is as complete as the slot has been read.
create table control.table_lag (
    entity text not null,
    seen_at timestamptz not null,
    waiting bigint not null check (waiting >= 0),
    complete_lsn bigint,
    behind_bytes bigint,
    behind_s double precision,
    primary key (entity, seen_at)
);
create index on control.table_lag (seen_at);

-- A stretch of log that may be missing. Nothing behind capture goes on while one is open; a recovery
-- closes it and says how.
create table control.capture_breaks (
    break_id bigint generated always as identity primary key,
    slot text not null,
    kind text not null,
    said text not null,
    lost_from_lsn bigint,
    lost_to_lsn bigint,
    found_at timestamptz not null default now(),
    -- A recovery has begun: the new slot's changes lie beyond this position, all earlier ones before it.
    between_lsn bigint,
    resolved_at timestamptz,
    resolution text,
    check ((resolved_at is null) = (resolution is null))
);
create unique index on control.capture_breaks (slot, kind) where resolved_at is null;

grant select, insert, update on control.capture_breaks to warehouse_rw;
-- Old looks make room for new ones.
grant select, insert, delete on control.slot_history, control.table_lag to warehouse_rw;
grant select on control.slot_history, control.table_lag, control.capture_breaks to analyst;
