-- The certificate: what every hop counted of each window of changes, where they differed, and who
-- witnessed the source. A window is what is visible in one cut and was not in an earlier one.
-- depends: 0002.control

-- A hop's count and order-free digest. `window` counts changes of a window, `state` rows at a cut.
create table control.certificates (
    cut_id bigint not null references control.cuts,
    -- The window begins after this cut; null for a state, which has no beginning.
    since_cut_id bigint references control.cuts,
    mode text not null default 'window' check (mode in ('window', 'state')),
    entity text not null,
    -- In the order of the path. A table that is quiet in a window has no rows here.
    hop text not null check (hop in ('source', 'bronze', 'silver', 'current', 'warehouse')),
    changes bigint not null check (changes >= 0),
    -- The sum of 60-bit digests, exact.
    digest numeric(38, 0) not null,
    -- Deliveries of a change beyond its first, rows kept out by a rule, and first deliveries that
    -- came after a later change of the same key. None of them is a difference.
    duplicates bigint not null default 0 check (duplicates >= 0),
    quarantined bigint not null default 0 check (quarantined >= 0),
    reordered bigint not null default 0 check (reordered >= 0),
    checked_at timestamptz not null default now(),
    primary key (cut_id, mode, entity, hop),
    check ((mode = 'state') = (since_cut_id is null))
);
create index on control.certificates (entity, cut_id desc);

-- One row a cut whose every captured table was compared, quiet ones too. Whether they agreed is
-- said by control.certificate_breaks.
create table control.certified_cuts (
    cut_id bigint not null references control.cuts,
    mode text not null check (mode in ('window', 'state')),
    since_cut_id bigint references control.cuts,
    changes bigint not null check (changes >= 0),
    seconds double precision not null check (seconds >= 0),
    certified_at timestamptz not null default now(),
    primary key (cut_id, mode)
);

-- A difference: the hop that has it, and the keys and positions it is at. `first_key` and `last_key`
-- are keys only, never other columns. It stays open until the same cut or a later one is agreed.
create table control.certificate_breaks (
    break_id bigint generated always as identity primary key,
    cut_id bigint not null references control.cuts,
    entity text not null,
    hop text not null check (hop in ('capture', 'bronze', 'silver', 'current', 'warehouse')),
    kind text not null,
    keys bigint not null check (keys >= 0),
    first_key text,
    last_key text,
    first_lsn bigint,
    last_lsn bigint,
    details jsonb not null default '{}',
    found_at timestamptz not null default now(),
    resolved_at timestamptz,
    resolution text,
    check ((resolved_at is null) = (resolution is null))
);
create unique index on control.certificate_breaks (cut_id, entity, hop, kind)
where resolved_at is null;
create index on control.certificate_breaks (entity, cut_id) where resolved_at is null;

-- The source's second log reader, one row a life of its slot: what was written before its base cut is
-- vouched for by a state comparison, everything after it change by change.
create table control.witnesses (
    witness_id bigint generated always as identity primary key,
    slot text not null,
    -- A restored or replaced cluster has another one, and the slot of another log proves nothing.
    system_identifier numeric(20, 0) not null,
    -- Where the slot begins; every later commit is in it.
    made_lsn bigint not null check (made_lsn > 0),
    made_at timestamptz not null default now(),
    -- The first cut taken after that, and the last one that every hop agreed on; its log is released.
    base_cut_id bigint references control.cuts,
    agreed_cut_id bigint references control.cuts,
    agreed_lsn bigint,
    ended_at timestamptz,
    ended_because text,
    check ((base_cut_id is null) = (agreed_cut_id is null)),
    check ((ended_at is null) = (ended_because is null))
);
create unique index on control.witnesses (slot) where ended_at is null;

-- How far each table is proven: moved to a cut when all its hops agree there and no break is open.
create table control.certified (
    entity text primary key,
    cut_id bigint not null references control.cuts,
    certified_at timestamptz not null default now()
);

-- What a mart or a reader asks: complete through which cut, position and time; and whether something
-- has been found since that takes it back.
create view control.complete_through as
select
    d.entity,
    d.cut_id,
    coalesce(c.unchanged_through_lsn, c.lsn) as lsn,
    coalesce(c.unchanged_through, c.taken_at) as taken_at,
    exists(
        select 1 from control.certificate_breaks as b
        where b.entity = d.entity and b.resolved_at is null
    ) as is_broken
from control.certified as d
inner join control.cuts as c on d.cut_id = c.cut_id;

grant select, insert, update on control.certificates, control.certified_cuts,
control.certificate_breaks, control.witnesses, control.certified to warehouse_rw;
grant select on control.certificates, control.certified_cuts, control.certificate_breaks,
control.witnesses, control.certified, control.complete_through to analyst;
grant select on control.complete_through to warehouse_rw;
